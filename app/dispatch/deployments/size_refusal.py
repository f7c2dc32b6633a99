"""A call that was refused as too large: was it the call, or one text of it? No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from app.concurrency.locks import uncontended_lock
from app.dispatch.deployments.plan import TokenEstimate
from app.dispatch.queue.attempts import Attempt


class SizeRefusal:
    """The parts, or the attempts, that were in one call that was too large.

    Once each of them is served in a smaller call, it is known that the size of the call was
    refused, and not one text that is too long for the model: calls are made smaller for a while.
    The lock guards ``_missing``.
    """

    def __init__(self, number: int, estimate: TokenEstimate) -> None:
        self._missing = number
        self._estimate = estimate
        self._lock = uncontended_lock()

    @classmethod
    def of_batch(cls, attempts: Sequence[Attempt], estimate: TokenEstimate) -> None:
        """Have the attempts of a batch record when they are served."""
        refusal = cls(len(attempts), estimate)
        for attempt in attempts:
            attempt.on_served = refusal.record_served

    def record_served(self) -> None:
        """Record that one of them has its vectors."""
        with self._lock:
            self._missing -= 1
            are_all_served = not self._missing
        if are_all_served:
            self._estimate.raise_expectation()
