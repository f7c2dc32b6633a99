"""The gate: no more calls than slots, what waits leaves together and in turn, nothing is lost."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.dispatch.gate import Gate
from tests.dispatch.parts import deployment, ticket


def away(gate, to, tickets):
    """Submit tickets; the batches that leave, departed."""
    batches = [gate.submit(t) for t in tickets]
    for batch in batches:
        if batch:
            gate.depart(batch)
    return [batch for batch in batches if batch]


def test_idle_adds_no_wait():
    gate = Gate(4)
    a = deployment(gate=gate)
    tickets = [ticket(a) for _ in range(4)]
    assert [batch.tickets for batch in away_one_by_one(gate, tickets)] == [[t] for t in tickets]
    assert gate.waiting == 0


def away_one_by_one(gate, tickets):
    for one in tickets:
        batch = gate.submit(one)
        if batch:
            gate.depart(batch)
            yield batch


def test_what_waits_leaves_together():
    gate = Gate(1)
    a = deployment(gate=gate)
    (first,) = away_one_by_one(gate, [ticket(a)])
    waiting = [ticket(a) for _ in range(60)]
    assert not list(away_one_by_one(gate, waiting))
    assert gate.waiting == 60
    assert gate.finish(first).tickets == waiting
    assert gate.waiting == 0


def test_until_its_carrier_runs_others_may_board():
    gate = Gate(2)
    a = deployment(gate=gate, max_inputs=3)
    batch = gate.submit(ticket(a))
    second, other = ticket(a, deadline=500), ticket(a, group="other")
    assert gate.submit(second) is None
    assert second.batch is batch
    assert batch.deadline.at == 500
    assert gate.submit(other).tickets == [other]
    gate.depart(batch)
    assert gate.submit(ticket(a)) is None
    assert len(batch.tickets) == 2
    assert gate.waiting == 1


def test_nobody_boards_a_call_that_is_full():
    gate = Gate(2)
    a = deployment(gate=gate, max_inputs=3)
    full = gate.submit(ticket(a, items=2))
    assert gate.submit(ticket(a, items=2)).inputs == 2
    assert full.inputs == 2


def test_a_call_holds_no_more_than_the_provider_takes():
    gate = Gate(1)
    a = deployment(gate=gate, max_inputs=10, max_tokens=100)
    batch = next(away_one_by_one(gate, [ticket(a)]))
    sizes = [(4, 10), (4, 10), (4, 10), (1, 95), (1, 10), (12, 5), (1, 1)]
    for items, tokens in sizes:
        gate.submit(ticket(a, items, tokens=tokens))
    left = []
    while (batch := gate.finish(batch)) is not None:
        left.append([(t.size, t.tokens) for t in batch.tickets])
    assert left == [sizes[:2], sizes[2:3], sizes[3:4], sizes[4:5], sizes[5:6], sizes[6:]]


def test_groups_take_turns_by_who_has_waited_longest():
    gate = Gate(1)
    a = deployment(gate=gate, max_inputs=2)
    batch = next(away_one_by_one(gate, [ticket(a)]))
    for group in "xxxxyz":
        gate.submit(ticket(a, group=group))
    order = []
    while (batch := gate.finish(batch)) is not None:
        order.append("".join(t.group for t in batch.tickets))
    assert order == ["xx", "y", "z", "xx"]


def test_those_that_must_leave_alone_leave_in_order():
    gate = Gate(1)
    a = deployment(gate=gate)
    batch = next(away_one_by_one(gate, [ticket(a)]))
    waiting = [ticket(a, group=None) for _ in range(5)]
    for one in waiting:
        gate.submit(one)
    order = []
    while (batch := gate.finish(batch)) is not None:
        order += [batch.tickets]
    assert order == [[one] for one in waiting]


def test_a_deployment_at_its_own_limit_holds_up_nobody_else():
    gate = Gate(4)
    a, b = deployment("a", gate, concurrency=1), deployment("b", gate)
    (first,) = away_one_by_one(gate, [ticket(a)])
    stuck, free = ticket(a), ticket(b)
    assert gate.submit(stuck) is None
    assert gate.submit(free).tickets == [free]
    assert gate.finish(first).tickets == [stuck]


def test_who_leaves_is_not_taken_along():
    gate = Gate(1)
    a = deployment(gate=gate)
    (first,) = away_one_by_one(gate, [ticket(a)])
    gone, stays = ticket(a), ticket(a)
    gate.submit(gone)
    gate.submit(stays)
    assert gate.withdraw(gone)
    assert not gate.withdraw(gone)
    assert gate.finish(first).tickets == [stays]
    assert not gate.withdraw(stays)  # too late


def test_a_flush_takes_out_what_waits_for_one_deployment():
    gate = Gate(1)
    a, b = deployment("a", gate), deployment("b", gate)
    (first,) = away_one_by_one(gate, [ticket(a)])
    for_a, for_b = [ticket(a), ticket(a, group="h")], ticket(b)
    for one in (*for_a, for_b):
        gate.submit(one)
    assert gate.flush(a) == for_a
    assert gate.waiting == 1
    assert gate.outstanding(a) == 1  # the one that is away
    assert gate.finish(first).tickets == [for_b]


class AnyGate(RuleBasedStateMachine):
    """Whatever order things happen in."""

    def __init__(self):
        super().__init__()
        self.gate = Gate(3)
        self.deployments = [
            deployment("a", self.gate, max_inputs=4),
            deployment("b", self.gate, concurrency=1, max_tokens=30),
        ]
        self.boarding, self.under_way, self.waiting, self.done = [], [], [], []

    def leaves(self, batch):
        if batch is not None:
            self.boarding.append(batch)
            self.waiting = [t for t in self.waiting if t.state == "waiting"]

    @rule(
        which=st.integers(0, 1),
        group=st.sampled_from(["g", "h", None]),
        items=st.integers(1, 5),
        tokens=st.integers(1, 40),
    )
    def submit(self, which, group, items, tokens):
        one = ticket(self.deployments[which], items, group, tokens)
        batch = self.gate.submit(one)
        if one.state == "waiting":
            self.waiting.append(one)
        self.leaves(batch)

    @precondition(lambda self: self.boarding)
    @rule(which=st.randoms())
    def depart(self, which):
        batch = self.boarding.pop(which.randrange(len(self.boarding)))
        self.gate.depart(batch)
        self.under_way.append(batch)

    @precondition(lambda self: self.under_way)
    @rule(which=st.randoms())
    def finish(self, which):
        batch = self.under_way.pop(which.randrange(len(self.under_way)))
        self.done += batch.tickets
        oldest = self.first_that_may_leave(batch)
        after = self.gate.finish(batch)
        assert (after is None) == (oldest is None)
        self.leaves(after)

    def first_that_may_leave(self, ending):
        """Some ticket that could leave once a call has ended."""
        b = self.deployments[1]
        busy = sum(x.deployment is b for x in [*self.boarding, *self.under_way])
        return next((t for t in self.waiting if t.deployment is not b or not busy), None)

    @precondition(lambda self: self.waiting)
    @rule(which=st.randoms())
    def withdraw(self, which):
        assert self.gate.withdraw(self.waiting.pop(which.randrange(len(self.waiting))))

    @rule(which=st.integers(0, 1))
    def flush(self, which):
        to = self.deployments[which]
        flushed = self.gate.flush(to)
        assert set(flushed) == {t for t in self.waiting if t.deployment is to}
        self.waiting = [t for t in self.waiting if t.deployment is not to]

    @invariant()
    def limits_hold(self):
        calls = [*self.boarding, *self.under_way]
        assert len(calls) <= 3
        assert sum(c.deployment is self.deployments[1] for c in calls) <= 1
        for call in calls:
            first = call.tickets[0]
            alike = {(t.deployment, t.group) for t in call.tickets}
            assert len(alike) == 1
            if len(call.tickets) > 1:
                assert first.group is not None
                inputs = sum(t.size for t in call.tickets)
                assert call.deployment.takes(inputs, sum(t.tokens for t in call.tickets))

    @invariant()
    def nothing_is_lost(self):
        assert self.gate.waiting == len(self.waiting)
        on_the_way = [t for c in [*self.boarding, *self.under_way] for t in c.tickets]
        for to in self.deployments:
            count = sum(t.deployment is to for t in [*self.waiting, *on_the_way])
            assert self.gate.outstanding(to) == count
        everyone = [*on_the_way, *self.waiting, *self.done]
        assert len(everyone) == len(set(map(id, everyone)))

    @invariant()
    def nobody_waits_beside_a_free_slot(self):
        if len(self.boarding) + len(self.under_way) < 3:
            assert self.first_that_may_leave(None) is None

    def teardown(self):
        """What is left leaves in the end."""
        for batch in self.boarding:
            self.gate.depart(batch)
        queue = self.boarding + self.under_way
        while queue:
            batch = self.gate.finish(queue.pop())
            if batch is not None:
                self.gate.depart(batch)
                queue.append(batch)
                left = {id(t) for t in batch.tickets}
                self.waiting = [t for t in self.waiting if id(t) not in left]
        assert not self.waiting
        assert self.gate._free == self.gate.slots


TestAnyGate = AnyGate.TestCase
TestAnyGate.pytestmark = pytest.mark.filterwarnings("default")
