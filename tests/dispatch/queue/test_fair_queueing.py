"""Which request a full queue loses, and whose turn it is with any shares."""

import pytest

from app.config.sections.declaration import MAX_PROPORTION, MIN_PROPORTION
from app.dispatch.queue.waiting import WaitingAttempts
from app.domain import Flow
from tests.dispatch.queue.queued import always, keys_of, left_in_order, many, waiting


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


@pytest.mark.parametrize("share", [MIN_PROPORTION, MAX_PROPORTION])
def test_a_key_of_any_share_leaves_the_turns_of_others_as_they_are(share):
    """It waits alone at first, so that its turns are the virtual time at which the others begin."""
    queue = waiting(many(4, "odd", share=share, tokens=8000))
    for _ in range(2):
        queue.take(queue.next(always), None)
    for one in [*many(100, "a", tokens=5), *many(100, "b", tokens=5)]:
        queue.add(one)
    order = [key for key in keys_of(left_in_order(queue)) if key != "odd"]
    assert set(order[::2]) == {"a"}
    assert set(order[1::2]) == {"b"}
