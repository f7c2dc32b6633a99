"""One deployment tried per request, inside the caller's deadline."""

from __future__ import annotations

import _thread
import time
from collections.abc import Mapping

from app.config import Settings
from app.dispatch.deployment import Deployment
from app.domain import EmbeddingRequest, Outcome, Vectors
from app.errors import (
    BadRequest,
    CredentialsRefused,
    DeadlineExceeded,
    ProviderError,
    RateLimited,
    Rejected,
    Throttled,
    UpstreamFailed,
)
from app.providers.base import Provider


class Dispatcher:
    def __init__(self, settings: Settings, providers: Mapping[str, Provider]) -> None:
        self._deployments = {
            name: [Deployment(model, d, providers[d.provider]) for d in model.deployments]
            for name, model in settings.models.items()
        }

    def models_without_provider(self) -> list[str]:
        return []

    def embed(self, request: EmbeddingRequest, deadline: float) -> Outcome:
        deployments = [
            d for d in self._deployments[request.model] if d.can_serve(request.dimensions)
        ]
        if not deployments:
            raise BadRequest(
                f"Invalid value for 'dimensions' = {request.dimensions}.", param="dimensions"
            )
        deployment = deployments[0]
        call = deployment.call(request, request.items)
        started = time.monotonic()
        done = _thread.allocate_lock()
        done.acquire()
        result: list[Vectors | BaseException] = []

        def carry() -> None:
            try:
                result.append(deployment.embed(call, request.dimensions, deadline))
            except BaseException as error:
                result.append(error)
            finally:
                done.release()

        _thread.start_new_thread(carry, ())
        if not done.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise DeadlineExceeded(f"Request timed out after {request.timeout} s.")
        found = result[0]
        if isinstance(found, ProviderError):
            if time.monotonic() >= deadline - 0.05:
                raise DeadlineExceeded(f"Request timed out after {request.timeout} s.")
            if isinstance(found, Rejected):
                raise BadRequest(found.message, param=found.param)
            if isinstance(found, Throttled):
                raise RateLimited("busy", retry_after=found.retry_after or 1)
            raise UpstreamFailed(
                "The provider failed: " + found.message,
                should_retry=False if isinstance(found, CredentialsRefused) else None,
            )
        if isinstance(found, BaseException):
            raise found
        return Outcome(
            found,
            provider=deployment.name,
            attempts=1,
            upstream_seconds=time.monotonic() - started,
        )
