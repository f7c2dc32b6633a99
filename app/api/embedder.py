"""Serves a request for embeddings of a known caller, for the API and the console: steps 3 to 8.

It checks the JSON (3) and takes from the limits (4); the pipeline (5) runs the other steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from app.api.json_body import check_passed_on
from app.api.schemas import EmbeddingSchema
from app.auth.authenticator import Authenticator
from app.config import ModelSettings, Settings
from app.config.fields import MAX_SPACE_LENGTH
from app.domain import Caller, EmbeddingRequest, Outcome
from app.errors import (
    BadRequest,
    ClientError,
    ModelNotAllowed,
    ModelNotFound,
    ServiceTierNotAllowed,
    SpaceChanged,
    shown,
)
from app.exchange import Exchange
from app.limits.limiter import Limiter
from app.pipeline import Pipeline

MAX_MODEL_SHOWN = 128  # characters of a model's name in an answer

#: Embeds a request of a caller by a deadline of the monotonic clock; gives up where the client has
#: left.
Run = Callable[[EmbeddingRequest, Caller, float, Callable[[], bool]], Outcome]


class Embedder:
    """Checks requests, takes what they use of the caller's limits, and embeds them."""

    def __init__(
        self,
        settings: Settings,
        authenticator: Authenticator,
        limiter: Limiter,
        pipeline: Pipeline,
    ) -> None:
        self._models = settings.models
        self._schema = EmbeddingSchema(settings.limits.inputs, settings.console.enabled)
        self._authenticator = authenticator
        self._limiter = limiter
        self._run = pipeline.run

    def check(
        self,
        exchange: Exchange,
        caller: Caller,
        payload: dict[str, Any],
        model: str | None = None,
        space: str | None = None,
    ) -> EmbeddingRequest:
        """Return the request of a JSON body (step 3). Raises a `ClientError`.

        The key must be permitted the model and the service tier, and the end user not be blocked.
        ``model`` is the name in the path, if there is one; ``space`` the vector space that the
        client insists on.
        """
        checked, extra = self._schema.parse(payload, model, caller)
        if exchange.trace is not None:
            checked = replace(checked, trace=exchange.trace)
        exchange.request = checked
        settings = self._settings_of(checked, caller)
        exchange.space = settings.space
        if space is not None and space != settings.space:
            raise _space_changed(settings.space, space)
        for name in extra:  # those that the settings of the model may pass on
            if name not in settings.passes:
                raise BadRequest(
                    f"Unrecognized request argument supplied: {shown(name)}", param=name
                )
            check_passed_on(name, extra[name])
        if checked.user:
            self._authenticator.check_user(checked.user)
        return replace(checked, passed=extra) if extra else checked

    def _settings_of(self, checked: EmbeddingRequest, caller: Caller) -> ModelSettings:
        """Return the settings of the model. Raises unless the caller may use it, and the tier."""
        settings = self._models.get(checked.model)
        if settings is None:
            raise no_such_model(checked.model)
        if not caller.may_use(checked.model):
            raise ModelNotAllowed(
                f"This key may not use the model `{shown(checked.model, MAX_MODEL_SHOWN)}`."
            )
        if not caller.may_ask_for(checked.flow.tier):
            raise ServiceTierNotAllowed(
                f"This key may not ask for the service tier '{checked.flow.tier}'.",
                param="service_tier",
            )
        return settings

    def embed(
        self,
        exchange: Exchange,
        caller: Caller,
        checked: EmbeddingRequest,
        has_client_left: Callable[[], bool],
        run: Run | None = None,
    ) -> Outcome:
        """Embed a checked request within the caller's limits (step 4), by the pipeline (5).

        Raises a `ClientError`. ``run`` replaces the pipeline's.
        """
        deadline = exchange.started + checked.timeout
        grant = exchange.grant = self._limiter.admit(caller, checked)
        exchange.admitted, exchange.admitted_at = True, time.monotonic()
        try:
            outcome = exchange.outcome = (run or self._run)(
                checked, caller, deadline, has_client_left
            )
        except ClientError as error:
            exchange.error = error
            raise
        finally:
            if grant is not None:
                self._limiter.settle(grant, exchange.outcome, exchange.purchases)
        return outcome


def no_such_model(name: str) -> ModelNotFound:
    """Return the error for a model that is not there, or that the key may not use."""
    name = shown(name, MAX_MODEL_SHOWN)
    return ModelNotFound(f"The model `{name}` does not exist or you do not have access to it.")


def _space_changed(space: str, wanted: str) -> SpaceChanged:
    error = SpaceChanged(
        f"This model serves the vector space `{space}`, not `{shown(wanted, MAX_SPACE_LENGTH)}` as "
        "the header x-proxy-space asks for.",
        param="x-proxy-space",
    )
    error.log_message = "another vector space was asked for"  # the header may hold anything
    return error
