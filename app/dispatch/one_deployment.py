"""Embeds a request on one deployment that the caller names, whatever its health: no fail-over.

It is for administrators who compare deployments. Its calls are those of
`app.dispatch.sending.background_calls`: they take only idle slots, and change neither health nor
latency of the deployment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from app.concurrency.deadline import Deadline
from app.dispatch.deployments.call_size import split
from app.dispatch.deployments.deployment import Deployment
from app.dispatch.deployments.pool import Pool
from app.dispatch.deployments.preparation import prepare
from app.dispatch.job.answer import MAX_CALLS_RECORDED
from app.dispatch.job.caller_errors import refusal
from app.dispatch.queue.attempts import Attempt
from app.dispatch.sending.background_calls import BackgroundCalls, NoIdleSlot
from app.domain import EmbeddingRequest, Item, Outcome, Source, Vectors
from app.errors import (
    BrokenContract,
    ClientClosedRequest,
    ClientError,
    CredentialsRefused,
    DeadlineExceeded,
    Overloaded,
    ProviderError,
    RateLimited,
    Rejected,
    Throttled,
    UpstreamFailed,
)

_RETRY_AFTER_S = 1.0  # where no slot was idle, or the provider does not say


def embed_on(
    pool: Pool,
    deployment: Deployment,
    calls: BackgroundCalls,
    request: EmbeddingRequest,
    deadline: float,
    has_client_left: Callable[[], bool],
) -> Outcome:
    """Return the vectors of a request, which this deployment of the pool has embedded.

    Raises a `ClientError`, with what was bought before. ``deadline`` is of the monotonic clock.
    """
    prepared = prepare(pool, request, Deadline(deadline), [deployment])
    made = _Calls(deployment, calls, request, deadline, has_client_left)
    for start, stop in split(prepared.tokens, deployment.max_inputs, deployment.max_tokens):
        items = prepared.items(deployment, request, start, stop)
        try:
            made.embed(items, start, stop)
        except ClientError as error:
            error.attempts = made.number
            error.purchases = made.purchases
            raise
    return Outcome(
        made.vectors,
        provider=deployment.provider_name,
        attempts=made.number,
        upstream_seconds=made.upstream_s,
        queue_seconds=made.queue_s,
        sources=[deployment.source],
        purchases=made.purchases,
    )


class _Calls:
    """The calls of one request, one after the other, and what they took."""

    def __init__(
        self,
        deployment: Deployment,
        calls: BackgroundCalls,
        request: EmbeddingRequest,
        deadline: float,
        has_client_left: Callable[[], bool],
    ) -> None:
        self.number = 0  # of calls that were sent
        self.queue_s = self.upstream_s = 0.0
        self._deployment = deployment
        self._background_calls = calls
        self._request = request
        self._deadline = deadline
        self._has_client_left = has_client_left
        self._answers: list[Vectors] = []

    @property
    def vectors(self) -> Vectors:
        """The vectors of all calls, in order."""
        answers = self._answers
        rows = [row for vectors in answers for row in vectors.rows]
        tokens = [count for vectors in answers for count in vectors.tokens]
        return Vectors(rows, tokens, any(vectors.estimated for vectors in answers))

    @property
    def purchases(self) -> dict[Source, int]:
        """The tokens bought, as `Outcome` has them."""
        if not self._answers:
            return {}
        return {self._deployment.source: sum(sum(vectors.tokens) for vectors in self._answers)}

    def embed(self, items: Sequence[Item], start: int, stop: int) -> None:
        """Make the call for some items, and keep its vectors. Raises a `ClientError`."""
        queued_at, sent, cause = time.monotonic(), list[Attempt](), ""
        wait_s = self._deadline - queued_at
        if wait_s <= 0:
            raise DeadlineExceeded.after(self._request.timeout)
        if self._has_client_left():  # before more is bought
            raise ClientClosedRequest.before_answer()
        try:
            self._answers.append(
                self._background_calls.embed(
                    self._deployment,
                    items,
                    wait_s,
                    self._has_client_left,
                    self._deadline,
                    self._request,
                    sent.append,
                )
            )
            if len({len(vectors.rows[0]) for vectors in self._answers}) > 1:
                raise BrokenContract("answered vectors of two widths")
        except ProviderError as failure:
            cause = failure.cause
            raise self._error_of(failure) from failure
        finally:
            called_at = sent[0].call_started_at if sent else None
            self._count(start, stop, queued_at, called_at, cause)

    def _count(
        self, start: int, stop: int, queued_at: float, called_at: float | None, cause: str
    ) -> None:
        now, records = time.monotonic(), self._request.calls
        if called_at is not None:
            self.number += 1
        self.queue_s += (called_at or now) - queued_at
        self.upstream_s += now - (called_at or now)
        if records is not None and len(records) < MAX_CALLS_RECORDED:
            source = self._deployment.source
            records.append((start, stop, source, queued_at, called_at, now, cause, 1, False, False))

    def _error_of(self, failure: ProviderError) -> ClientError:
        if self._has_client_left():
            return ClientClosedRequest.before_answer()
        if time.monotonic() >= self._deadline and not isinstance(failure, NoIdleSlot):
            return DeadlineExceeded.after(self._request.timeout)
        return _client_error_for(failure)


def _client_error_for(failure: ProviderError) -> ClientError:
    """Return the caller's error for a failure of this deployment, which nothing follows."""
    match failure:
        case Rejected():
            return refusal(failure)
        case NoIdleSlot():
            return Overloaded(
                "This deployment has no idle slot, or no quota left.", retry_after=_RETRY_AFTER_S
            )
        case Throttled():
            wait_s = failure.retry_after or _RETRY_AFTER_S
            return RateLimited("This deployment is at its rate limit.", retry_after=wait_s)
        case CredentialsRefused():
            return UpstreamFailed(
                "This deployment refused the proxy's credentials.", should_retry=False
            )
        case _:
            return UpstreamFailed(f"This deployment failed: it {failure.message}.")
