"""The parts of one request and their attempts: every change of their state is made here."""

from __future__ import annotations

from collections.abc import Sequence

from app.dispatch.deployments.call_size import SizeRefusal
from app.dispatch.deployments.pool import Pool
from app.dispatch.job.answer import CallTimes
from app.dispatch.job.context import Effects
from app.dispatch.job.joined import JoinedItems, extent
from app.dispatch.job.part import NEVER, NEXT_STATES, Part, PartState, cuts_of_halves
from app.dispatch.queue.attempts import Attempt
from app.domain import Flow

#: Parts of one request that are halved before the retry budget is charged for each further one.
MAX_FREE_HALVINGS = 16


class Parts:
    """The parts of a request by state. See `PartState` for the states.

    `app.dispatch.job.job_state.JobState` owns it, under the lock of its job.
    """

    def __init__(self, tokens: list[int], effects: Effects, flow: Flow) -> None:
        #: Those in state `WAITING`, in the order in which they start.
        self.waiting = [Part(0, tokens, flow)]
        self.next_due = float("-inf")  # none of those is due before
        #: The attempts of those in state `RUNNING`, oldest first.
        self.running: dict[Attempt, Part] = {}
        self.times = CallTimes()
        #: Parts that wait until another one is answered, by that one: see `halve`.
        self._held: dict[Part, list[Part]] = {}
        self._flow = flow  # of the request
        self._halvings = 0
        self._items = len(tokens)
        self._joined: JoinedItems | None = None  # None until another request joins this one
        self.effects = effects

    @property
    def calls(self) -> int:
        """The number of calls that have ended, are abandoned or in flight."""
        in_flight = sum(attempt.call_started_at is not None for attempt in self.running)
        return self.times.calls + in_flight

    def transition(self, part: Part, state: PartState, attempt: Attempt | None = None) -> None:
        """Change the state of a part. ``attempt`` is its attempt, for `RUNNING`.

        The caller has removed a part in state `WAITING` from ``waiting`` before. What follows:

        1. A part that stops running abandons its attempts, and has no timers any more.
        2. One that waits is the last in ``waiting``, or the first if it starts first.
        3. When one is answered or stopped, the parts that were held until then wait, too.
        """
        assert state in NEXT_STATES[part.state], f"{part.state} → {state}"
        for other in part.attempts:
            self._abandon(other)
        part.attempts.clear()
        part.late_at = part.hedge_at = NEVER
        part.undecided = None
        part.state = state
        if state is PartState.WAITING:
            self.waiting.insert(0 if part.starts_first else len(self.waiting), part)
            self.next_due = min(self.next_due, part.due)
        elif state is PartState.RUNNING:
            assert attempt is not None
            part.attempts.append(attempt)
            self.running[attempt] = part
        elif state is PartState.ANSWERED and part.size_refusal is not None:
            part.size_refusal.record_served()
        if self._held and state in (PartState.ANSWERED, PartState.STOPPED):
            self.put_first(self._held.pop(part, ()))
        part.check()

    def put_first(self, parts: Sequence[Part]) -> None:
        """Put waiting parts before the others, except for those that start first."""
        self.waiting[:0] = parts
        self.next_due = float("-inf")
        if self._joined is not None:
            self.waiting.sort(key=lambda part: not part.starts_first)  # a stable sort

    def add_attempt(self, part: Part, attempt: Attempt) -> None:
        """Add an attempt to a running part: a hedge, or a call beside a late one."""
        assert part.state is PartState.RUNNING
        part.attempts.append(attempt)
        self.running[attempt] = part
        part.check()

    def drop_attempt(self, part: Part, attempt: Attempt) -> None:
        """Abandon one of the two attempts of a part."""
        part.attempts.remove(attempt)
        self._abandon(attempt)
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

    def split(self, part: Part, cuts: Sequence[tuple[int, int]]) -> list[Part]:
        """Replace a part by smaller parts, and return them: (start, stop) of its items for each."""
        smaller = self._cut(part, cuts)
        self.put_first(smaller)
        return smaller

    def _cut(self, part: Part, cuts: Sequence[tuple[int, int]]) -> list[Part]:
        """Return the parts that take the place of one; the caller puts them among the waiting."""
        self.transition(part, PartState.SPLIT)
        smaller = part.smaller(cuts, self._flow)
        if self._joined is not None:
            for one in smaller:
                self._joined.prefer(one)
        return smaller

    def halve(self, part: Part, pool: Pool) -> bool:
        """Replace a part whose call was too large by smaller ones; False if no budget is left.

        The first time its largest item is sent alone, and the others wait for its vectors.
        """
        if self._halvings >= MAX_FREE_HALVINGS and not pool.retries.spend():
            return False
        self._halvings += 1
        part.forget_too_large_refusals()  # no failures of the halves: only the size was refused
        cuts = cuts_of_halves(part.tokens, part.is_largest_served)
        smaller = self._cut(part, cuts)
        refusal = SizeRefusal(len(cuts), pool.estimate)
        for one in smaller:
            one.size_refusal, one.is_largest_served = refusal, True
            one.never_merge = True  # two halves together would be too large again
        if part.is_largest_served:
            self.put_first(smaller)
        else:
            largest, *others = smaller
            self.put_first([largest])
            self._held[largest] = others
        return True

    # For requests that join this one, or leave it

    def start_first(self, positions: Sequence[int], flow: Flow) -> None:
        """Let the parts with these items start first: a request that has joined waits for them.

        In queues, the parts wait in ``flow`` if they leave earlier by that: see `JoinedItems`.
        """
        joined = self._joined = self._joined or JoinedItems(self._flow, self._items)
        joined.add(positions, flow)
        for part in [part for parts in (self.waiting, *self._held.values()) for part in parts]:
            joined.prefer(part)
        for part in list(dict.fromkeys(self.running.values())):
            was_bulk = part.is_bulk
            if joined.prefer(part):
                for attempt in part.attempts:
                    attempt.deployment.queue.move(attempt, part.flow)
                if was_bulk and not part.is_bulk:  # the call may leave elsewhere at once
                    part.late_at = float("-inf")
        self.put_first(())

    def keep_only(self, positions: Sequence[int]) -> list[tuple[int, int]]:
        """Stop the parts with none of these items, whose positions are in ascending order.

        A part with some of them goes on whole if its call was sent. Else it is taken out of its
        queue, waits again, and is cut to the items from the first to the last of these. Returns
        (start, stop) of the items that are stopped.
        """
        stopped: list[tuple[int, int]] = []
        for held in self._held.values():
            held[:] = self._kept(held, positions, stopped)
        for part in list(dict.fromkeys(self.running.values())):
            start, stop = extent(part, positions)
            if start == stop:
                self.transition(part, PartState.STOPPED)
                stopped.append((part.start, part.stop))
            elif stop - start < part.size:
                self._requeue(part)
        waiting, self.waiting[:] = list(self.waiting), []
        kept = self._kept(waiting, positions, stopped)
        self.put_first(kept)  # before those that were held behind a stopped one
        return stopped

    def _kept(
        self, waiting: Sequence[Part], positions: Sequence[int], stopped: list[tuple[int, int]]
    ) -> list[Part]:
        """Return what is kept of waiting parts; add the other items to ``stopped``."""
        kept = []
        for part in waiting:
            start, stop = extent(part, positions)
            if start == stop:
                self.transition(part, PartState.STOPPED)
            elif stop - start < part.size:
                kept += self._cut(part, [(start - part.start, stop - part.start)])
            else:
                kept.append(part)
            ends = (part.start, start), (stop, part.stop)
            stopped += [(begin, end) for begin, end in ends if begin < end]
        return kept

    def _requeue(self, part: Part) -> None:
        """Take a running part out of its queue, to be started again, unless its call was sent."""
        attempt = part.attempts[0]
        if len(part.attempts) == 1 and self._withdraw(attempt):
            self.take_result(attempt)
            self.transition(part, PartState.WAITING)

    # The end

    def stop_all(self) -> None:
        """End every part: the request has ended."""
        if self.waiting or self._held or self.running:  # not where all parts are answered
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
            self._abandon(attempt)

    def _abandon(self, attempt: Attempt) -> None:
        """Abandon an attempt; cancel its call where no other request waits for that."""
        part = self.running.pop(attempt, None)
        if part is not None:
            self.times.count(attempt)
            if self.times.records is not None:
                self.times.record(part, attempt, None, None)
        if self._withdraw(attempt):
            return
        batch = attempt.deployment.queue.abandon(attempt)
        if batch is not None:
            self.effects.cancel.append(batch)

    @staticmethod
    def _withdraw(attempt: Attempt) -> bool:
        """Take an attempt out of its queue; False where it is in flight or done."""
        if not attempt.deployment.queue.withdraw(attempt):
            return False
        if attempt.is_probe:
            attempt.deployment.standing.probe_ended()
        return True
