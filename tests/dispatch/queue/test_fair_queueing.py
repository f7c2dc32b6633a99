"""Which request a full queue loses."""

from app.dispatch.queue.waiting import WaitingAttempts
from app.domain import Flow
from tests.dispatch.queue.queued import many, waiting


def test_the_newest_request_of_the_flow_with_most_waiting_is_displaced():
    old, new, other = *many(2, "noisy"), *many(1, "quiet")
    old.arrived_at, new.arrived_at, other.arrived_at = 1.0, 2.0, 3.0
    queue = waiting([new, old, other])
    assert queue.newest_of_largest() is new
    assert queue.has_more_waiting(Flow("third"))
    assert not queue.has_more_waiting(Flow("quiet"))
    assert not queue.has_more_waiting(Flow("noisy"))


def test_a_greater_share_allows_more_to_wait():
    queue = waiting([*many(4, "large", share=4), *many(2, "small")])
    assert queue.newest_of_largest().flow.key == "small"


def test_of_a_key_the_end_user_with_most_waiting_loses_one():
    queue = waiting([*many(4, "k", user="noisy"), *many(1, "k", user="quiet")])
    assert queue.has_more_waiting(Flow("k", user="quiet"))
    assert not queue.has_more_waiting(Flow("k", user="noisy"))
    assert queue.newest_of_largest().flow.user == "noisy"


def test_nothing_is_displaced_where_nothing_waits():
    assert WaitingAttempts().newest_of_largest() is None
    assert not WaitingAttempts().has_more_waiting(Flow("k"))


def test_of_equal_keys_that_of_the_worse_tier_loses_one():
    queue = waiting([*many(1, "bulk", "flex"), *many(1, "q")])
    assert queue.has_more_waiting(Flow("vip", tier="priority"))
    assert queue.has_more_waiting(Flow("new"))
    assert not queue.has_more_waiting(Flow("more", tier="flex"))
    assert queue.newest_of_largest().flow.key == "bulk"
