"""A slot queue and any order of events, as jobs and senders cause them."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from app.dispatch.queue.attempts import AttemptState
from app.dispatch.queue.slot_queue import SlotQueue
from app.dispatch.sending import bisection
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


class QueueEvents(RuleBasedStateMachine):
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
        while batch is not None and batch.is_unsent:
            assert {one.state for one in batch.attempts} <= {AttemptState.DONE}
            self.told += batch.attempts
            batch = self.queue.take_next(self.now)
        if batch in self.calls:  # it starts early: a second thread claims it
            assert batch.starts_early
            assert batch not in self.queue._open.values()
        elif batch is not None:
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
        has_room, before = self.queue.has_room(one.flow), self.queue.waiting
        assert has_room or self.queue.is_full
        if not has_room:
            return
        self.attempts.append(one)
        self.take(self.queue.submit(one, self.now))
        displaced = self.queue.take_excess()
        if displaced is not None:
            assert displaced.state is AttemptState.DONE
            self.told.append(displaced)
        # Those of a refused call wait again even where the queue is full.
        assert self.queue.waiting <= max(WAITING, before)

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
        if batch.refused_with:
            self.test_next(batch, bisection.after_success(batch.refused_with))
        else:
            self.finish(batch)

    @precondition(lambda self: self.calls)
    @rule(dice=DICE)
    def refuse(self, dice):
        batch = self.any_call(dice)
        if len(batch.attempts) > 1:
            self.test_next(batch, bisection.after_refusal(batch.attempts, batch.refused_with))
        else:
            self.fail(dice, batch)

    @precondition(lambda self: self.calls)
    @rule(dice=DICE)
    def fail(self, dice, batch=None):
        batch = batch or self.any_call(dice)
        self.queue.requeue(batch.refused_with)
        self.tell(batch)
        self.finish(batch)

    def tell(self, batch):
        for one in batch.attempts:
            was_wanted = one.state is AttemptState.IN_FLIGHT
            assert self.queue.finish_attempt(one, len(batch.attempts)) == was_wanted
            assert not self.queue.finish_attempt(one, len(batch.attempts))
            if was_wanted:
                self.told.append(one)

    def test_next(self, batch, step):
        rest = self.queue.hold(step.refused_with)
        following = self.queue.replace(batch, step.test, rest, self.now)
        self.queue.requeue(step.requeue)
        if following is None:
            self.queue.requeue(rest)
            self.finish(batch)
        elif following.is_unsent:
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
            self.take(self.queue.take_next(self.now))

    # What the queue holds

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
