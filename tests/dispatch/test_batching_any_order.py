"""The slot queue keeps its invariants for any order of events."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.dispatch import bisection
from app.dispatch.attempt import AttemptState
from app.dispatch.batching import SlotQueue
from app.dispatch.quota_window import WINDOW_S
from app.domain import Flow
from tests.dispatch.parts import T, attempt, deployment

WAITING = 12  # attempts that may wait
QUOTA = (4, 60)  # calls and tokens a minute, of one of the deployments
DICE = st.randoms(use_true_random=False)
FLOWS = st.builds(
    Flow,
    st.sampled_from(["a key", "another"]),
    st.sampled_from([1.0, 3.0]),
    st.sampled_from(["priority", "default", "default", "flex"]),
    st.sampled_from(["", "a user"]),
)
ENDED = (AttemptState.DONE, AttemptState.WITHDRAWN)


class AnyQueue(RuleBasedStateMachine):
    """Calls the queue as jobs and senders do, in any order."""

    def __init__(self):
        super().__init__()
        self.now = T
        self.queue = SlotQueue(2, WAITING)
        self.deployments = [
            deployment("a", self.queue, max_inputs=4),
            deployment("b", self.queue, concurrency=1, max_tokens=30),
            deployment(
                "c",
                self.queue,
                max_tokens=30,
                requests_per_minute=QUOTA[0],
                tokens_per_minute=QUOTA[1],
            ),
        ]
        self.attempts = []  # all that were submitted
        self.calls = []  # batches that hold a slot
        self.open = []  # those of them that were not closed
        self.left = []  # every call with a quota that ever left: when, and its batch
        self.told = []  # attempts whose result was wanted when it came

    def take(self, batch):
        """Handle a batch as the sender does, until no further one is sent."""
        while batch is not None and batch.reservation is None:
            assert {one.state for one in batch.attempts} <= {AttemptState.DONE}
            self.told += batch.attempts
            batch = self.queue.next(self.now)
        if batch is not None:
            self.calls.append(batch)
            self.open.append(batch)
            self.count(batch)

    def count(self, batch):
        if batch.deployment is self.deployments[2]:
            self.left.append((self.now, batch))

    def any_call(self, dice):
        """Return a call whose sender runs: closed for additions."""
        batch = dice.choice(self.calls)
        self.queue.close(batch)
        if batch in self.open:
            self.open.remove(batch)
        return batch

    # Jobs

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds):
        self.now += seconds
        self.take_all()  # as after the pause of a quota

    @rule(
        which=st.integers(0, 2),
        group=st.sampled_from(["g", "h", None]),
        items=st.integers(1, 5),
        tokens=st.integers(1, 40),
        is_probe=st.sampled_from([False, False, False, True]),
        flow=FLOWS,
    )
    def submit(self, which, group, items, tokens, is_probe, flow):
        to = self.deployments[which]
        self.give(attempt(to, items, group, tokens, is_probe=is_probe, flow=flow))

    @rule(
        which=st.integers(0, 2),
        group=st.sampled_from(["g", "h"]),
        number=st.integers(2, 6),
        flow=FLOWS,
    )
    def submit_several(self, which, group, number, flow):
        """Submit small attempts, which are merged while they wait."""
        for _ in range(number):
            self.give(attempt(self.deployments[which], 1, group, 3, flow=flow))

    def give(self, one):
        has_room = self.queue.has_room(one.flow)
        assert has_room or self.queue.is_full
        if not has_room:
            return
        self.attempts.append(one)
        self.take(self.queue.submit(one, self.now))
        displaced = self.queue.take_excess()
        if displaced is not None:
            assert displaced.state is AttemptState.DONE
            self.told.append(displaced)
        assert self.queue.waiting <= WAITING + self.held()

    def held(self):
        return sum(len(batch.rest) for batch in self.calls)

    @precondition(lambda self: self.attempts)
    @rule(dice=DICE)
    def withdraw(self, dice):
        one = dice.choice(self.attempts)
        was_queued = one.state is AttemptState.QUEUED
        assert self.queue.withdraw(one) == was_queued

    @precondition(lambda self: self.attempts)
    @rule(dice=DICE)
    def abandon(self, dice):
        one = dice.choice(self.attempts)
        batch = one.batch
        cut = self.queue.abandon(one)
        if cut is not None:
            assert cut is batch
            assert cut in self.calls
            assert not any(other.state is AttemptState.IN_FLIGHT for other in cut.attempts)
            assert not cut.is_probe

    # Senders

    @rule(slots=st.sampled_from([0, 1, 2, 4, 4, 5]))
    def set_slots(self, slots):
        before = len(self.calls)
        self.take(self.queue.set_slots(slots, self.now))
        self.take_all()
        assert len(self.calls) <= max(before, slots)

    @rule(which=st.integers(0, 2))
    def flush(self, which):
        to = self.deployments[which]
        queued = {one for one in self.in_queues() if one.deployment is to}
        flushed = self.queue.flush(to)
        assert len(flushed) == len(set(flushed))
        assert set(flushed) == queued
        self.told += flushed

    @precondition(lambda self: self.open)
    @rule(dice=DICE)
    def close(self, dice):
        batch = dice.choice(self.open)
        self.open.remove(batch)
        self.queue.close(batch)

    @precondition(lambda self: self.calls)
    @rule(dice=DICE)
    def serve(self, dice):
        batch = self.any_call(dice)
        self.tell(batch)
        if batch.rest:
            self.test_next(batch, bisection.after_success(batch.rest))
        else:
            self.finish(batch)

    @precondition(lambda self: self.calls)
    @rule(dice=DICE)
    def refuse(self, dice):
        batch = self.any_call(dice)
        if len(batch.attempts) > 1:
            self.test_next(batch, bisection.after_refusal(batch.attempts, batch.rest))
        else:
            self.fail(dice, batch)

    @precondition(lambda self: self.calls)
    @rule(dice=DICE)
    def fail(self, dice, batch=None):
        batch = batch or self.any_call(dice)
        self.queue.requeue(batch.rest)
        self.tell(batch)
        self.finish(batch)

    def tell(self, batch):
        for one in batch.attempts:
            was_wanted = one.state is AttemptState.IN_FLIGHT
            assert self.queue.done(one, len(batch.attempts)) == was_wanted
            assert not self.queue.done(one, len(batch.attempts))
            if was_wanted:
                self.told.append(one)

    def test_next(self, batch, step):
        rest = self.queue.hold(step.rest)
        following = self.queue.replace(batch, step.test, rest, self.now)
        self.queue.requeue(step.requeue)
        if following is None:
            self.queue.requeue(rest)
            self.finish(batch)
        elif following.reservation is None:
            self.finish(batch)
            self.take(following)
        else:
            self.calls[self.calls.index(batch)] = following
            self.count(following)
        self.take_all()

    def finish(self, batch):
        self.calls.remove(batch)
        self.take(self.queue.finish(batch, self.now))

    def take_all(self):
        """Requeued attempts may use other slots than the one of the refused call."""
        calls = -1
        while calls != len(self.calls):
            calls = len(self.calls)
            self.take(self.queue.next(self.now))

    # Invariants

    def in_queues(self):
        return [one for flow in self.flows() for one in flow.attempts()]

    def heads(self):
        """Return the first attempt of each group of each flow."""
        users = [u for t in self.flows() for k in t.members.values() for u in k.members.values()]
        return [next(iter(group)) for user in users for group in user.groups.values()]

    def flows(self):
        return self.queue._attempts.queue._tiers.values()

    def in_state(self, *states):
        return [one for one in self.attempts if one.state in states]

    @invariant()
    def slots_taken_are_calls_in_flight(self):
        assert self.queue.free == self.queue.slots - len(self.calls)
        of = Counter(batch.deployment for batch in self.calls)
        assert of == +Counter(self.queue._leaving.calls)
        assert of[self.deployments[1]] <= 1
        assert {id(b) for b in self.queue._open.values()} <= {id(b) for b in self.open}

    @invariant()
    def no_call_is_over_a_limit_and_all_in_it_may_share_it(self):
        for batch in self.calls:
            assert len({(one.deployment, one.group) for one in batch.attempts}) == 1
            if len(batch.attempts) > 1:
                assert batch.attempts[0].group is not None
                assert batch.inputs == sum(one.size for one in batch.attempts)
                assert batch.tokens == sum(one.tokens for one in batch.attempts)
                assert batch.deployment.fits(batch.inputs, batch.tokens)

    @invariant()
    def what_waits_is_what_is_queued(self):
        queued = self.in_state(AttemptState.QUEUED)
        assert self.queue.waiting == len(queued)
        in_queues = self.in_queues()
        held = [one for b in self.calls for one in b.rest if one.state is AttemptState.QUEUED]
        assert Counter(map(id, [*in_queues, *held])) == Counter(map(id, queued))
        for tier in self.flows():
            self.check_counts(tier)

    def check_counts(self, flow):
        assert flow.waiting == len(list(flow.attempts()))
        assert all(flow.groups.values())
        for key, group in flow.groups.items():
            for one in group:
                assert key == (one if one.group is None else (one.deployment, one.group))
        for member in flow.members.values():
            self.check_counts(member)

    @invariant()
    def what_is_outstanding_has_not_ended(self):
        of = Counter(one.deployment for one in self.attempts if one.state not in ENDED)
        for to in self.deployments:
            assert self.queue.outstanding(to) == of[to]

    @invariant()
    def what_is_in_flight_is_in_one_call(self):
        carried = [one for batch in self.calls for one in batch.attempts]
        assert len(carried) == len(set(carried))
        in_flight = self.in_state(AttemptState.IN_FLIGHT, AttemptState.ABANDONED)
        assert set(in_flight) == {one for one in carried if one.state not in ENDED}
        assert all(one in one.batch.attempts for one in in_flight)
        assert all(one.batch is None for one in self.attempts if one not in set(in_flight))

    @invariant()
    def each_is_told_at_most_once(self):
        assert len(self.told) == len(set(self.told))

    @invariant()
    def the_quota_is_kept(self):
        for start, _ in self.left:
            window = [b for when, b in self.left if start <= when < start + WINDOW_S]
            assert len(window) <= QUOTA[0]
            assert sum(b.reservation.tokens for b in window) <= QUOTA[1]

    @invariant()
    def no_attempt_waits_beside_a_slot_that_it_could_have(self):
        """Except for a quota's pause, for flex beside the last slot, and for what is behind."""
        is_last_kept = self.queue.slots >= 4 and self.queue.free == 1
        if self.queue.free <= 0:
            return
        busy = any(batch.deployment is self.deployments[1] for batch in self.calls)
        for one in self.heads():
            is_kept_back = is_last_kept and one.flow.tier == "flex"
            if one.deployment is self.deployments[1]:
                assert busy or is_kept_back
            elif not is_kept_back:
                quota = one.deployment.quota
                pause = quota.pause(one.tokens, self.now, one.deadline.at)
                if one.flow.tier == "flex":
                    pause = max(pause, quota.bulk_pause(one.tokens, self.now))
                assert pause > 0

    def teardown(self):
        """Serve all remaining attempts."""
        self.set_slots(2)
        self.time_passes(60)
        while self.calls:
            batch = self.calls[0]
            self.queue.close(batch)
            self.tell(batch)
            self.queue.requeue(batch.rest)
            self.finish(batch)
            self.time_passes(60)
        assert all(one.state in ENDED for one in self.attempts)
        assert self.queue.free == self.queue.slots
        assert not self.in_queues()
        assert not self.queue._open


TestAnyQueue = AnyQueue.TestCase
TestAnyQueue.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
