"""The slot queue keeps its invariants for any order of events."""

from collections import Counter

from hypothesis import settings
from hypothesis.stateful import invariant

from app.dispatch.queue.attempts import AttemptState
from app.dispatch.quotas.quota_window import WINDOW_S
from tests.dispatch.queue.queue_events import QUOTA, QueueEvents

ENDED = (AttemptState.DONE, AttemptState.WITHDRAWN)


class AnyQueue(QueueEvents):
    """Checks invariants after each event, and that all attempts end."""

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
                assert batch.item_count == sum(one.size for one in batch.attempts)
                assert batch.tokens == sum(one.tokens for one in batch.attempts)
                assert batch.deployment.fits(batch.item_count, batch.tokens)

    @invariant()
    def what_waits_is_what_is_queued(self):
        queued = self.in_state(AttemptState.QUEUED)
        assert self.queue.waiting == len(queued)
        in_queues = self.in_queues()
        held = [
            one for b in self.calls for one in b.refused_with if one.state is AttemptState.QUEUED
        ]
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
        """Except for a pause of a quota, for flex beside the last slot, and for what is behind.

        One that a quota has no room for is refused at the next look at the queue.
        """
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
                pause = quota.pause_s(one.tokens, self.now, one.deadline.at) or 0.0
                if one.flow.tier == "flex":
                    pause = max(pause, quota.bulk_pause_s(one.tokens, self.now))
                assert pause > 0 or quota.wait_s(one.tokens, self.now) > 0

    def teardown(self):
        """Serve all remaining attempts."""
        self.set_slots(2)
        for _ in range(2 * len(self.attempts)):
            self.time_passes(61)  # the quota has room for any call
            if self.calls:
                batch = self.calls[0]
                self.queue.close(batch)
                self.tell(batch)
                self.queue.requeue(batch.refused_with)
                self.finish(batch)
        assert all(one.state in ENDED for one in self.attempts)
        assert self.queue.free == self.queue.slots
        assert not self.in_queues()
        assert not self.queue._open


TestAnyQueue = AnyQueue.TestCase
TestAnyQueue.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
