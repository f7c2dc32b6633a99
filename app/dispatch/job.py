"""One request's way through dispatch: a state machine that is told the time. No I/O.

A request is one *part* until a deployment is chosen that takes less; then it is several, side by
side. Each part is put to one deployment at a time (two, when hedged) as a `Ticket`; when that
fails it goes to another, or after a pause back to the same, until it has an answer, may not be
tried again, or the deadline passes. Whoever drives a job calls `advance` whenever a ticket was
delivered or the time came that `advance` asked for.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from app.dispatch.answer import Answer
from app.dispatch.budget import Budget
from app.dispatch.deployment import Deployment
from app.dispatch.events import Events
from app.dispatch.gate import Batch, NotSent, Ticket
from app.dispatch.part import Part
from app.dispatch.plan import expected_tokens, split
from app.dispatch.pool import Pool
from app.dispatch.verdict import verdict
from app.domain import EmbeddingRequest, Outcome, Vectors
from app.errors import (
    BadRequest,
    ClientError,
    ConnectionFailed,
    DeadlineExceeded,
    Overloaded,
    ProviderError,
    ProviderTimeout,
    Rejected,
)

#: Failed attempts before a part gives up; one more for each further deployment.
_MOST_FAILURES = 3
_FIRST_PAUSE = 0.1  # seconds before the first retry at the same deployment, at the most
_LONGEST_PAUSE = 2.0
#: Seconds one is waited for, while another can serve, where nobody knows what is usual.
_UNKNOWN_PATIENCE = 10.0
#: A call is late, and hedged, after so many times the p95: one in twenty outlives that alone.
_LATE = 1.5
_TOO_LATE = 0.01  # seconds before the deadline in which no attempt is worth starting


@dataclass(slots=True)
class Rules:
    """What jobs share: the process's budgets and bounds."""

    retries: Budget
    hedges: Budget
    most_waiting: int  # tickets at gates, of all jobs
    events: Events = field(default_factory=Events)


class Job:
    """See the module. ``carry`` is given each batch that a gate lets go; ``wake`` is called, from
    any thread, when `advance` has something to do."""

    def __init__(
        self,
        request: EmbeddingRequest,
        pool: Pool,
        deadline: float,
        rules: Rules,
        rng: random.Random,
        carry: Callable[[Batch], None],
        wake: Callable[[], None],
        hedged: bool = False,
    ) -> None:
        self.deadline = self._promised = deadline
        self.finished = False
        self._request = request
        self._pool = pool
        self._rules = rules
        self._rng = rng
        self._carry = carry
        self._wake = wake
        self._hedged = hedged
        self._delivered: deque[Ticket] = deque()
        self._to_start = [Part(0, expected_tokens(request.items))]
        self._running: dict[Ticket, Part] = {}
        self._answer = Answer(len(request.items))
        self._error: ClientError | BaseException | None = None
        self._attempts = 0
        self._started: float | None = None
        self._upstream_seconds = 0.0
        rules.retries.earn()

    def deliver(self, ticket: Ticket) -> None:
        """Take note that a ticket has its result."""
        self._delivered.append(ticket)
        self._wake()

    def extend(self, deadline: float) -> None:
        """Somebody more patient joined."""
        if deadline > self.deadline:
            self.deadline = deadline
            self._wake()

    def _extend(self) -> None:
        """Have the calls under way live as long as somebody waits for them."""
        self._promised = self.deadline
        for ticket in self._running:
            ticket.deadline = self.deadline
            batch = ticket.batch
            if batch is not None:
                batch.extend(self.deadline)

    def advance(self, now: float) -> float:
        """Do what there is to do; the time by which to be called again."""
        if self.deadline > self._promised:
            self._extend()
        while self._delivered and not self.finished:
            self._receive(self._delivered.popleft(), now)
        if not self.finished and now >= self.deadline:
            self._fail(DeadlineExceeded(f"Request timed out after {self._request.timeout} s."))
        wake_at = self.deadline
        if not self.finished:
            self._look_elsewhere(now)
            wake_at = min(wake_at, self._start_what_is_due(now))
        if self.finished:
            self._leave_all()
            return now
        for part in self._running.values():
            wake_at = min(wake_at, part.patience, part.hedge_at)
        return wake_at

    def outcome(self) -> Outcome:
        """What came of it. Raises the `ClientError` it ended with."""
        if self._error is not None:
            if isinstance(self._error, ClientError):
                self._error.attempts = self._attempts
            raise self._error
        return self._answer.outcome(self._attempts, self._upstream_seconds)

    # Starting parts

    def _start_what_is_due(self, now: float) -> float:
        """Start the parts whose time has come; when the next one's does."""
        later: list[Part] = []
        pending, self._to_start = self._to_start, later
        for place, part in enumerate(pending):
            if self.finished:
                break
            if part.due > now:
                later.append(part)
            elif self._running and len(self._running) >= self._side_by_side():
                later.extend(pending[place:])  # a delivery will come back to them
                break
            else:
                later.extend(self._start(part, now))
        return min((part.due for part in self._to_start if part.due > now), default=float("inf"))

    def _side_by_side(self) -> int:
        return max(deployment.gate.slots for deployment in self._pool.deployments)

    def _start(self, part: Part, now: float) -> list[Part]:
        """Put a part to a deployment; returns what of it must start later."""
        tokens = sum(part.tokens)
        deployment = self._choose(part, tokens, now)
        if deployment is None:
            wait = self._pool.wait(now, tokens, self._request)
            if self._may_wait(part, now, wait):
                part.due = now + max(wait, 0.01)
                return [part]
            self._give_up(part, now)
            return []
        if part.owes and not self._rules.retries.spend():
            self._give_up(part, now)
            return []
        part.owes = False
        if deployment.takes(len(part.tokens), tokens):
            self._submit(part, deployment, now)
            return []
        cuts = split(part.tokens, deployment.max_inputs, deployment.max_tokens)
        if len(cuts) == 1:
            self._submit(part, deployment, now)
            return []
        # Each goes its own way from here: a part that fails is the only one repeated.
        return self._restart(
            [
                Part(
                    part.start + start,
                    part.tokens[start:stop],
                    failures=list(part.failures),
                    tried=list(part.tried),
                )
                for start, stop in cuts
            ],
            now,
        )

    def _restart(self, parts: list[Part], now: float) -> list[Part]:
        later: list[Part] = []
        for place, part in enumerate(parts):
            if self.finished or len(self._running) >= self._side_by_side():
                return later + parts[place:]
            later += self._start(part, now)
        return later

    def _choose(self, part: Part, tokens: int, now: float) -> Deployment | None:
        """One that has not failed this part, while there is one; then any."""
        chosen = self._pool.choose(now, tokens, self._request, part.asked)
        if chosen is None and part.asked:
            chosen = self._pool.choose(now, tokens, self._request)
        return chosen

    def _may_wait(self, part: Part, now: float, wait: float) -> bool:
        """Whether waiting for a deployment to come back beats telling the caller now.

        It does where other parts have been paid for already; else SDKs know how to wait.
        """
        begun = self._answer.begun or bool(self._running)
        return begun and now + wait < self.deadline

    def _submit(self, part: Part, deployment: Deployment, now: float) -> None:
        gate = deployment.gate
        if gate.waiting >= self._rules.most_waiting:
            self._fail(
                Overloaded("Too many requests are waiting here. Try again soon.", retry_after=1)
            )
            return
        items = self._request.items[part.start : part.stop]
        try:
            call = deployment.call(self._request, items)
        except Rejected as error:
            self._fail(BadRequest(error.message, param=error.param))
            return
        tokens = sum(part.tokens)
        ticket = Ticket(
            deployment,
            call,
            None if part.alone else deployment.group(call, self._request.dimensions),
            tokens,
            self.deadline,  # the provider's own timeout begins when the call does: Batch.leave
            self.deliver,
            self._request.dimensions,
            submitted=now,
        )
        if deployment.health.state(now) == "ejected":
            with deployment.lock:
                ticket.probe = deployment.health.leave(now)
        deployment.quota.take(0, tokens, now)
        self._attempts += 1
        if self._started is None:
            self._started = now
        part.running.append(ticket)
        self._running[ticket] = part
        self._set_alarms(part, deployment, now)
        batch = gate.submit(ticket)
        if batch is not None:
            self._carry(batch)

    def _set_alarms(self, part: Part, deployment: Deployment, now: float) -> None:
        part.patience = part.hedge_at = float("inf")
        if not any(
            d is not deployment and d not in part.tried and d.health.may_serve(now)
            for d in self._pool.deployments
        ):
            return
        # Half of what is left, so that another still has time; less where we know what is usual.
        patience = min((self.deadline - now) / 2, _UNKNOWN_PATIENCE)
        if deployment.latency.p95(len(part.tokens)) is not None:
            patience = min((self.deadline - now) / 2, deployment.patience(len(part.tokens)))
        if self._hedged and len(part.running) == 1:
            usual = self._pool.usual(deployment, len(part.tokens))
            if usual is not None:
                part.hedge_at = now + _LATE * usual
        part.patience = now + patience

    # Results

    def _receive(self, ticket: Ticket, now: float) -> None:
        part = self._running.pop(ticket, None)
        if part is None:
            return  # the loser of a hedge, or of our patience
        part.running.remove(ticket)
        result = ticket.result
        if isinstance(result, Vectors):
            self._accept(part, ticket, result, now)
        elif isinstance(result, ProviderError):
            self._retry(part, ticket, result, now)
        else:
            self._fail(result or RuntimeError("a ticket without a result"))

    def _accept(self, part: Part, ticket: Ticket, vectors: Vectors, now: float) -> None:
        for other in part.running:
            del self._running[other]
            self._leave(other)
        part.running.clear()
        self._answer.put(part.start, part.stop, vectors, ticket.deployment.source)
        if self._answer.complete:
            self._upstream_seconds = now - (self._started if self._started is not None else now)
            self.finished = True

    def _retry(self, part: Part, ticket: Ticket, error: ProviderError, now: float) -> None:
        """Decide what becomes of a part whose attempt failed."""
        deployment = ticket.deployment
        if isinstance(error, Rejected):
            refused = BadRequest(error.message, param=error.param)
            refused.log_message = "a provider refused the request as invalid"
            self._fail(refused)
            return
        if isinstance(error, NotSent):
            self._attempts -= 1
            if not part.running:
                self._to_start.append(part)
            return
        part.failures.append(error)
        if deployment not in part.tried:
            part.tried.append(deployment)
        if part.running:
            return  # its hedge may still win
        if now > self.deadline - _TOO_LATE:  # it was the caller's own deadline that cut it
            self._fail(DeadlineExceeded(f"Request timed out after {self._request.timeout} s."))
            return
        tokens = sum(part.tokens)
        elsewhere = self._pool.choose(now, tokens, self._request, part.tried)
        if elsewhere is None and self._pool.choose(now, tokens, self._request) is None:
            part.owes = True
            self._to_start.append(part)  # nobody is there to be tried: wait for one, or give up
        elif self._may_try_again(part, ticket, error, elsewhere is not None):
            # What fails in company, with nobody else to ask, may fail for another's sake: some
            # engines answer 500 to a text that is too long.
            part.alone |= ticket.company > 1 and elsewhere is None
            self._rules.events.retried(self._pool.model, deployment, error)
            part.due = now if elsewhere is not None else now + self._pause(len(part.failures))
            self._to_start.append(part)
        else:
            self._give_up(part, now)

    def _may_try_again(
        self, part: Part, ticket: Ticket, error: ProviderError, elsewhere: bool
    ) -> bool:
        failures = len(part.failures)
        if not elsewhere and not error.transient:
            return False
        if failures >= _MOST_FAILURES + max(0, len(self._pool.deployments) - 1):
            return False
        # A connection that was never made cost the provider nothing: going elsewhere is free.
        free = elsewhere and isinstance(error, ConnectionFailed)
        # Tickets that left together failed together: they share the price of one call.
        return free or self._rules.retries.spend(1 / ticket.company)

    def _pause(self, failures: int) -> float:
        """Full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015)."""
        return self._rng.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**failures))

    # Looking elsewhere

    def _look_elsewhere(self, now: float) -> None:
        for ticket, part in list(self._running.items()):
            if part.patience <= now:
                part.patience = float("inf")
                self._leave_for_another(ticket, part, now)
            elif part.hedge_at <= now:
                part.hedge_at = float("inf")
                self._hedge(part, now)
            if self.finished:
                return

    def _leave_for_another(self, ticket: Ticket, part: Part, now: float) -> None:
        """Put a part whose call is late to somebody else; without one, or the budget, wait on."""
        other = self._pool.choose(now, sum(part.tokens), self._request, part.asked)
        if other is None or not self._rules.retries.spend():
            return
        del self._running[ticket]
        part.running.remove(ticket)
        self._leave(ticket)
        late = ProviderTimeout("was too slow")
        part.failures.append(late)
        part.tried.append(ticket.deployment)
        self._rules.events.retried(self._pool.model, ticket.deployment, late)
        self._to_start.append(part)

    def _hedge(self, part: Part, now: float) -> None:
        tokens = sum(part.tokens)
        other = self._pool.choose(now, tokens, self._request, part.asked)
        fits = other is not None and other.takes(len(part.tokens), tokens)
        if other is not None and fits and self._rules.hedges.spend():
            self._rules.events.hedged(self._pool.model, other)
            self._submit(part, other, now)

    # Ending

    def _give_up(self, part: Part, now: float) -> None:
        self._fail(verdict(self._request, self._pool, part.failures, now))

    def _fail(self, error: ClientError | BaseException) -> None:
        self._error = error
        self.finished = True

    def _leave_all(self) -> None:
        for ticket in self._running:
            self._leave(ticket)
        self._running.clear()

    def _leave(self, ticket: Ticket) -> None:
        """Wait no longer for a ticket; end its call where nobody else waits for it either."""
        deployment, batch = ticket.deployment, ticket.batch
        if deployment.gate.withdraw(ticket):
            if ticket.probe:
                with deployment.lock:
                    deployment.health.withdraw()
        elif batch is not None and deployment.gate.abandon(ticket):
            batch.deadline.cancel()
