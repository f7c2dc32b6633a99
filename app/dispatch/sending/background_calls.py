"""Calls to one deployment whatever its state, in slots that no attempt waits for: no retry.

`app.dispatch.drift` embeds its texts by them, and `app.dispatch.one_deployment` the requests of
administrators.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from app.concurrency.deadline import Deadline
from app.concurrency.locks import Wakeup
from app.dispatch.queue.attempts import Attempt, NotSent, Result, kind_of
from app.domain import EmbeddingRequest, Flow, Item, Vectors
from app.errors import ProviderError, ProviderTimeout

if TYPE_CHECKING:
    from app.dispatch.deployments.deployment import Deployment
    from app.dispatch.deployments.pool import Pool
    from app.dispatch.sending.sender import Sender

#: Seconds between two checks for a free slot.
SLOT_POLL_S = 0.05
#: Seconds that a call may take; less where its provider's timeout is shorter.
MAX_CALL_S = 60.0
#: Seconds for which a result is waited for after the time limit of its call.
_GRACE_S = 1.0


class NoIdleSlot(NotSent):
    """No slot of the provider was free, or no quota was left, while the call waited."""


class BackgroundCalls:
    """Makes calls to one deployment, each in a slot that no attempt waits for; there is no retry.

    A call is charged to the deployment's quota and counted in metrics, as any other. Its result
    changes neither health nor latency of the deployment. ``sleep`` is passed in for tests.
    """

    def __init__(
        self,
        pool_of: Mapping[Deployment, Pool],
        sender: Sender,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._pool_of = pool_of
        self._sender = sender
        self._sleep = sleep

    def used_share(self, deployment: Deployment, calls: Sequence[Sequence[str]]) -> float:
        """Return the share of the deployment's quota that is used with these calls more."""
        tokens = sum(self._tokens(deployment, texts) for texts in calls)
        return deployment.quota.used_share(len(calls), tokens, time.monotonic())

    def has_quota(self, deployment: Deployment, texts: Sequence[str]) -> bool:
        """Whether the quota has room for a call, and has some left then, or is used by no other."""
        tokens, now = self._tokens(deployment, texts), time.monotonic()
        quota = deployment.quota
        if quota.wait_s(tokens, now) > 0:
            return False
        return quota.used_share(1, tokens, now) < 1 or quota.used_share(0, 0, now) == 0

    def interval_s(self, deployment: Deployment, texts: Sequence[str], share: float) -> float:
        """Return the seconds between such calls that use that share of the quota."""
        return deployment.quota.interval_s(self._tokens(deployment, texts), share)

    def _tokens(self, deployment: Deployment, texts: Sequence[Item]) -> int:
        return sum(self._pool_of[deployment].estimate.expect(texts))

    def embed(
        self,
        deployment: Deployment,
        texts: Sequence[Item],
        slot_wait_s: float,
        is_stopping: Callable[[], bool] = lambda: False,
        ends_by: float = float("inf"),
        request: EmbeddingRequest | None = None,
        on_sent: Callable[[Attempt], None] = lambda _: None,
    ) -> Vectors:
        """Return the vectors of texts that fit into one call, which ends before ``ends_by``.

        ``request`` says what else changes the vectors, as its dimensions. ``on_sent`` gets the
        attempt when it has a slot. Raises `NoIdleSlot` after ``slot_wait_s`` without an idle slot,
        else the `ProviderError` of the call.
        """
        request = request or EmbeddingRequest(self._pool_of[deployment].model, texts)
        cut_to = request.dimensions
        call = deployment.build_call(request, texts)
        results: list[Result] = []
        wakeup = Wakeup()

        def on_result(attempt: Attempt, result: Result, now: float) -> None:
            results.append(result)
            wakeup.set()

        now = time.monotonic()
        give_up_at = now + slot_wait_s
        attempt = Attempt(
            deployment=deployment,
            call=call,
            group=None,
            kind=kind_of(call, cut_to),
            tokens=self._tokens(deployment, texts),
            deadline=Deadline(min(now + MAX_CALL_S, ends_by)),
            on_result=on_result,
            queued_at=now,
            cut_to=cut_to,
            is_background=True,
            flow=Flow(tier="flex"),
        )
        while (batch := deployment.queue.submit_if_idle(attempt, now)) is None:
            if now >= give_up_at or is_stopping():
                raise NoIdleSlot("had no idle slot, or no quota left")
            self._sleep(SLOT_POLL_S)
            now = attempt.queued_at = time.monotonic()
            attempt.deadline.extend(min(now + MAX_CALL_S, ends_by))
        on_sent(attempt)
        self._sender.send(batch)
        wakeup.wait(min(attempt.deadline.remaining() + _GRACE_S, ends_by - time.monotonic()))
        if not results:
            raise ProviderTimeout("did not answer in time")
        return _vectors_or_raise(results[0])


def _vectors_or_raise(result: Result) -> Vectors:
    if isinstance(result, Vectors):
        return result
    if isinstance(result, ProviderError):
        raise result
    raise NotSent("was not called") from result
