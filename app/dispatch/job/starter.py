"""Starts the attempts of a request's parts: first attempts and retries. No I/O.

It belongs to one `app.dispatch.job.job_state.JobState`, and runs under the lock of its job.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.dispatch.deployments.deployment import Deployment
from app.dispatch.deployments.token_estimate import Expected
from app.dispatch.job.context import JobContext
from app.dispatch.job.part import Part, PartState
from app.dispatch.job.parts import Parts
from app.dispatch.job.slow_calls import SlowCalls, Timers
from app.dispatch.queue.attempts import Attempt, Result, kind_of

_MIN_WAIT_S = 0.01  # before a part without a deployment is tried again
#: A job that finds all queues full checks them again after so long, if none wakes it: attempts may
#: have left without a call, or another deployment may be back.
_FULL_POLL_S = 0.5
#: Parts that no deployment takes now, although each could serve them, after which the other parts
#: of the request are not tried. There may be thousands, and to look for a deployment for each, many
#: times a second, stops the worker. Some need fewer tokens; but the request ends only with those
#: that are tried.
_MAX_UNPLACED = 8


def _ignore_result(attempt: Attempt, result: Result, now: float) -> None:
    """Ignore a result: its request has ended."""


class Starter:
    """Chooses a deployment for each part, and submits an attempt to its queue."""

    def __init__(
        self,
        job: JobContext,
        parts: Parts,
        on_result: Callable[[Attempt, Result, float], None],
        on_room: Callable[[], None],
    ) -> None:
        self._job = job
        self._parts = parts
        self._on_result = on_result
        self._on_room: Callable[[], None] | None = on_room
        self._has_waited_for_room = False
        self._waiting_for_room: set[Part] = set()  # that wait until a full queue has room
        self._suitable = job.prepared.suitable
        self._timers = Timers(job.pool, self._suitable, job.is_hedged)

    def close(self) -> None:
        """Drop the reference to the job, whose cycle only the garbage collector could free."""
        self._on_result = _ignore_result
        if self._has_waited_for_room and self._on_room is not None:
            for deployment in self._suitable:
                deployment.queue.room_waiters.remove(self._on_room)
            self._waiting_for_room.clear()
        self._on_room = None

    def retry_full_queues(self, now: float) -> None:
        """Let the parts start again that found all queues full: one has room now."""
        for part in self._waiting_for_room:
            part.due = now
        self._waiting_for_room.clear()

    def start_due(self, now: float, has_vectors: bool) -> Part | None:
        """Start the parts that are due; return the first one that has to be given up, if any.

        ``has_vectors``: other parts are paid for already, so that a part waits for a deployment.
        Without them the request fails at once, because SDKs retry by themselves.
        """
        parts, later = self._parts, list[Part]()
        given_up, unplaced = None, 0
        while parts.waiting and len(parts.running) < self._job.pool.max_slots:
            part = parts.waiting.pop(0)
            if part.due > now:
                later.append(part)
            elif not self._start(part, now, has_vectors or bool(parts.running), later):
                given_up = part
                break
            elif later and later[-1] is part and not part.permanently_failing:
                unplaced += 1  # no deployment takes it now, although each could serve it
                if unplaced == _MAX_UNPLACED:
                    self._let_others_wait(part, now)
                    break
        if later:
            parts.put_first(later)
        return given_up

    def hasten(self, deadline: float, positions: Sequence[int] | None) -> None:
        """Make running calls with some items late in time for another caller's deadline."""
        self._timers.hasten(self._parts.running, deadline, positions)

    def next_time(self) -> float:
        """Return the time at which the next part is due, to be hedged, or late."""
        due = self._timers.next(self._parts.running)
        waiting = self._parts.waiting
        # Without room for another attempt, a result is first.
        if waiting and len(self._parts.running) < self._job.pool.max_slots:
            due = min(due, min(part.due for part in waiting))
        return due

    def _start(self, part: Part, now: float, may_wait: bool, later: list[Part]) -> bool:
        """Submit a part to a deployment, split it, or let it wait; return False to give it up.

        The part has been removed from those that wait. One that goes on waiting is added to
        ``later``. It is given up where it may not wait, or where the retry budget is used up.
        """
        pool, expected = self._job.pool, part.expected
        deployment = self._choose(part, expected, now)
        if deployment is None:
            can_wait = self._let_wait(part, now, may_wait)
            if can_wait:
                later.append(part)
            return can_wait
        if self._waiting_for_room:
            self._waiting_for_room.discard(part)
        if part.must_charge_retry and not pool.retries.spend():
            return False
        part.must_charge_retry = False
        cuts = [(0, part.size)]
        if not deployment.fits(part.size, expected.total, part.is_bulk):
            cuts = deployment.split(part.tokens, part.is_bulk)
        if len(cuts) == 1:
            self._submit(part, deployment, now)
        else:  # each of the parts is started by itself
            self._parts.split(part, cuts)
        return True

    def _let_wait(self, part: Part, now: float, may_wait: bool) -> bool:
        """Set when a part is due again that no deployment takes now; return False for never."""
        pool, expected, failing = self._job.pool, part.expected, part.permanently_failing
        candidates = [d for d in self._suitable if d not in failing] or self._suitable
        wait_s = max(_MIN_WAIT_S, pool.wait_s(now, expected, candidates))
        may_wait = may_wait or self._waits_for_quota(part, candidates, now)
        if not may_wait or now + wait_s >= self._job.deadline.at:
            return False
        part.due = now + wait_s
        if pool.is_full(now, expected, candidates):
            self._wait_for_room(part, candidates, now)
        return True

    def _let_others_wait(self, unplaced: Part, now: float) -> None:
        """Let all parts that are due wait for as long as one that no deployment takes."""
        others = [part for part in self._parts.waiting if part.due <= now]
        for part in others:
            part.due = unplaced.due
        if unplaced in self._waiting_for_room:
            self._waiting_for_room.update(others)

    def _wait_for_room(self, part: Part, candidates: Sequence[Deployment], now: float) -> None:
        """Have the job woken when one of the full queues has room."""
        assert self._on_room is not None
        self._has_waited_for_room = True
        self._waiting_for_room.add(part)
        full = [d.queue for d in candidates if d.queue.is_full]
        for queue in full:
            queue.room_waiters.add(self._on_room)
        if all(queue.is_full for queue in full):  # else one got room meanwhile, and woke no job
            part.due = max(part.due, min(now + _FULL_POLL_S, self._job.deadline.at - _MIN_WAIT_S))

    def _waits_for_quota(self, part: Part, candidates: Sequence[Deployment], now: float) -> bool:
        """Whether a part of tier flex waits for a quota or a rest, instead of an early 429."""
        pool, expected = self._job.pool, part.expected
        if part.flow.tier != "flex" or pool.is_full(now, expected, candidates):
            return False
        return pool.is_throttled(now, expected, candidates)

    def _choose(self, part: Part, expected: Expected, now: float) -> Deployment | None:
        """Choose a deployment that has not failed this part; without one, one that may recover."""
        pool, suitable, deadline = self._job.pool, self._suitable, self._job.deadline.at
        chosen = pool.choose(now, expected, suitable, part.last_errors, deadline)
        if chosen is None and part.last_errors:
            chosen = pool.choose(now, expected, suitable, part.permanently_failing, deadline)
        return chosen

    def _submit(self, part: Part, deployment: Deployment, now: float) -> None:
        """Submit an attempt of a part: its only one, or one beside another."""
        request, deadline = self._job.request, self._job.deadline
        prepared = self._job.prepared
        items = prepared.items(deployment, request, part.start, part.stop)
        call = deployment.build_call(request, items, prepared.counts[part.start : part.stop])
        kind = kind_of(call, request.dimensions)
        attempt = Attempt(
            deployment,
            call,
            None if part.never_merge else deployment.group(call, kind, now),
            kind,
            part.expected.total,
            deadline,
            self._on_result,
            now,
            request.dimensions,
            flow=part.flow,
        )
        may_be_sent = True
        if deployment.standing.state(now) != "ok":
            is_probe = deployment.standing.record_submitted(now, is_only=len(self._suitable) == 1)
            may_be_sent = is_probe is not None
            attempt.is_probe = is_probe is True and not self._job.pool.is_alone
        times = self._parts.times
        if times.first_queued_at is None:
            times.first_queued_at = now
        attempt.arrived_at = times.first_queued_at
        attempt.earns_retry = not part.failures and not part.attempts
        if part.state is PartState.RUNNING:
            attempt.is_hedge = not part.has_call_beside
            self._parts.add_attempt(part, attempt)
        else:
            self._parts.transition(part, PartState.RUNNING, attempt)
        self._timers.set(part, attempt, deadline.soonest(now, part.start, part.stop), now)
        if not may_be_sent:
            self._parts.effects.not_sent.append((attempt, "has another request's probe"))
            return
        batch = deployment.queue.submit(attempt, now)
        if batch is not None:
            self._parts.effects.send.append(batch)
        elif (excess := deployment.queue.take_excess()) is not None:
            self._parts.effects.not_sent.append((excess, "was displaced in a full queue"))

    def repeat_lost_pauses(self, now: float) -> None:
        """Have the queues checked again whose pause has no thread that would end it.

        None could be started: see `PausedQueues`.
        """
        for deployment in self._suitable:
            if deployment.queue.has_lost_pause:
                deployment.queue.pause_until(now)

    def handle_slow_calls(self, now: float) -> None:
        """Hedge slow calls, and call another deployment beside those that are late."""
        due = self._timers.due(self._parts.running, now)
        if due:
            SlowCalls(self._job, self._parts, self._submit).handle(due, now)
