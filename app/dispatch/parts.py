"""The parts of one request and their attempts: every change of their state is made here."""

from __future__ import annotations

from collections.abc import Sequence

from app.dispatch.attempt import Attempt
from app.dispatch.call_times import CallTimes
from app.dispatch.deployment import Deployment
from app.dispatch.effects import Effects
from app.dispatch.halving import MAX_FREE_HALVINGS, Halving, cuts_of_halves
from app.dispatch.part import NEVER, NEXT_STATES, Part, PartState
from app.dispatch.pool import Pool
from app.domain import Flow
from app.errors import ProviderError


class Parts:
    """The parts of a request by state. See `PartState` for the states.

    `app.dispatch.job_state.JobState` owns it, under the lock of its job.
    """

    def __init__(self, tokens: list[int], effects: Effects, flow: Flow) -> None:
        #: Those in state `WAITING`, in the order in which they start.
        self.waiting = [Part(0, tokens, flow)]
        #: The attempts of those in state `RUNNING`, oldest first.
        self.running: dict[Attempt, Part] = {}
        self.times = CallTimes()
        #: By the part of one item that must be answered before them, those that it was cut from.
        self._flow = flow  # of the request
        self._held: dict[Part, list[Part]] = {}
        self._halvings = 0
        self._effects = effects

    @property
    def calls(self) -> int:
        """The number of calls that have ended, are abandoned or in flight."""
        in_flight = sum(attempt.call_started_at is not None for attempt in self.running)
        return self.times.calls + in_flight

    def transition(self, part: Part, state: PartState, attempt: Attempt | None = None) -> None:
        """Change the state of a part. ``attempt`` is its attempt, for `RUNNING`.

        The caller has removed a part in state `WAITING` from ``waiting`` before.
        """
        assert state in NEXT_STATES[part.state], f"{part.state} → {state}"
        for other in part.attempts:  # of a part that stops running: not wanted any more
            self._leave(other)
        part.attempts.clear()
        part.late_at = part.hedge_at = NEVER
        part.state = state
        if state is PartState.WAITING:
            self.waiting.append(part)
        elif state is PartState.RUNNING:
            assert attempt is not None
            self.add_attempt(part, attempt)
        elif state is PartState.ANSWERED:
            self.waiting[:0] = self._held.pop(part, ())
            if part.halving is not None:
                part.halving.part_served()
        part.check()

    def add_attempt(self, part: Part, attempt: Attempt) -> None:
        """Add an attempt to a running part: a hedge, or a call beside a late one."""
        assert part.state is PartState.RUNNING
        part.attempts.append(attempt)
        self.running[attempt] = part
        part.check()

    def drop_attempt(self, part: Part, attempt: Attempt) -> None:
        """Abandon one of the two attempts of a part."""
        part.attempts.remove(attempt)
        self._leave(attempt)
        part.check()

    def take_result(self, attempt: Attempt) -> Part | None:
        """Remove an attempt that has its result, and return its part; None if it was abandoned.

        The part keeps its state: after its last attempt the caller must make a `transition`.
        """
        part = self.running.pop(attempt, None)
        if part is not None:
            part.attempts.remove(attempt)
            self.times.count(attempt)
        return part

    def split(self, part: Part, cuts: Sequence[tuple[int, int]]) -> None:
        """Replace a part by smaller parts: (start, stop) of its items for each."""
        self.transition(part, PartState.SPLIT)
        self.waiting[:0] = [
            Part(
                part.start + start,
                part.tokens[start:stop],
                self._flow,
                failures=list(part.failures),
                failed_at=dict(part.failed_at),
                never_merge=part.never_merge,
                is_largest_served=part.is_largest_served,
            )
            for start, stop in cuts
        ]

    def halve(self, part: Part, deployment: Deployment, error: ProviderError, pool: Pool) -> bool:
        """Replace a part whose call was too large by smaller ones; False if no budget is left.

        The first time its largest item is sent alone, and the others wait for its vectors.
        """
        if self._halvings >= MAX_FREE_HALVINGS and not pool.retries.spend():
            return False
        self._halvings += 1
        part.failures.remove(error)  # the halves may be well: only the size was refused
        del part.failed_at[deployment]
        cuts = cuts_of_halves(part.tokens, part.is_largest_served)
        self.split(part, cuts)
        smaller, self.waiting[:] = self.waiting[: len(cuts)], self.waiting[len(cuts) :]
        halving = Halving(len(cuts), pool.estimate)
        for one in smaller:
            one.halving, one.is_largest_served = halving, True
        if part.is_largest_served:
            self.waiting[:0] = smaller
        else:
            largest, *others = smaller
            largest.never_merge = True
            self.waiting.insert(0, largest)
            self._held[largest] = others
        return True

    def stop_all(self) -> None:
        """End every part: the request has ended."""
        held = [part for parts in self._held.values() for part in parts]
        for part in [*self.waiting, *held, *dict.fromkeys(self.running.values())]:
            self.transition(part, PartState.STOPPED)
        self.waiting.clear()
        self._held.clear()
        assert not self.running, "an attempt runs for a request that has ended"

    def abandon_all(self) -> None:
        """Abandon all attempts after a bug, without `transition`, whose checks might fail."""
        self.waiting.clear()
        self._held.clear()
        for attempt in list(self.running):
            self._leave(attempt)

    def _leave(self, attempt: Attempt) -> None:
        """Abandon an attempt; cancel its call where no other request waits for that."""
        if self.running.pop(attempt, None) is not None:
            self.times.count(attempt)
        if attempt.deployment.queue.withdraw(attempt):
            if attempt.is_probe:
                attempt.deployment.standing.probe_ended()
        elif (batch := attempt.deployment.queue.abandon(attempt)) is not None:
            self._effects.cancel.append(batch)
