"""The order in which attempts leave the queue: tiers, keys by share, end users, groups."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.queue.fair_queueing import _MAX_IDLE_MEMBERS, MIN_TIER_SHARE
from app.domain import TIERS, Flow
from tests.dispatch.parts import attempt, deployment
from tests.dispatch.queue.queued import (
    CallOf,
    always,
    keys_of,
    left,
    left_in_order,
    many,
    waiting,
)


def test_groups_of_a_flow_take_turns():
    a = deployment()
    attempts = [attempt(a, group=group) for group in "xxxyz"]
    assert [one.group for one in left_in_order(waiting(attempts))] == ["x", "y", "z", "x", "x"]


def test_an_attempt_that_may_not_leave_is_passed_over():
    a, b = deployment("a"), deployment("b")
    attempts = [attempt(a), attempt(b), attempt(a)]
    queue = waiting(attempts)
    assert left_in_order(queue, lambda one: one.deployment is b) == [attempts[1]]
    assert queue.waiting_for(a) == [attempts[0], attempts[2]]
    assert queue.waiting_for(b) == []


def test_attempts_that_are_put_back_leave_before_all_others_and_are_charged_once():
    first, second, other = *many(2, "k"), *many(1, "other")
    queue = waiting([first, second, other])
    assert queue.take(queue.next(always), None) == [first]
    queue.add_first([first])
    assert first.charged == 0
    assert left_in_order(queue) == [first, other, second]


@given(st.lists(st.sampled_from(["x", "y", None]), max_size=12), st.integers(1, 4), st.data())
def test_each_attempt_leaves_once_and_in_the_order_of_its_group(names, most, data):
    a = deployment()
    flow = st.builds(Flow, st.sampled_from("ab"), st.just(1.0), st.sampled_from(TIERS))
    attempts = [attempt(a, group=name, flow=data.draw(flow)) for name in names]
    queue = waiting(attempts)
    removed = data.draw(st.lists(st.sampled_from(attempts))) if attempts else []
    for one in removed:
        queue.remove(one)
    stay = [one for one in attempts if one not in removed]
    order = left_in_order(queue, most=most)
    assert sorted(order, key=id) == sorted(stay, key=id)
    for one in stay:
        same = [x for x in stay if (x.flow, x.group_key) == (one.flow, one.group_key)]
        assert [x for x in order if x in same] == same


# Keys


def test_a_key_with_one_attempt_is_next_beside_one_with_hundreds():
    many_, one = many(300, "bulk", tokens=50), many(1, "query")
    queue = waiting(many_)
    assert queue.take(queue.next(always), None) == many_[:1]
    queue.add(one[0])
    assert left_in_order(queue)[0] is one[0]


@pytest.mark.parametrize("most", [1, 7])
def test_keys_leave_in_proportion_to_their_shares(most):
    queue = waiting([*many(400, "a", share=1), *many(400, "b", share=2), *many(400, "c", share=4)])
    first = keys_of(left_in_order(queue, most=most))[:420]
    assert [first.count(key) for key in "abc"] == pytest.approx([60, 120, 240], abs=most + 1)


def test_tokens_are_shared_and_not_attempts():
    queue = waiting([*many(400, "long", tokens=30), *many(400, "short", tokens=10)])
    first = keys_of(left_in_order(queue))[:200]
    assert first.count("short") == pytest.approx(150, abs=3)


def test_a_key_saves_no_turns_while_it_does_not_wait():
    queue = waiting(many(100, "busy"))
    for _ in range(50):
        queue.take(queue.next(always), None)
    for one in many(60, "new"):
        queue.add(one)
    first = keys_of(left_in_order(queue))[:20]
    assert first.count("new") == pytest.approx(10, abs=1)


def test_a_key_saves_no_turns_while_it_may_not_leave():
    """As where the quota of one model is used up, and another model of the provider has room."""
    queue = waiting([*many(1000, "x", group="a"), *many(1000, "y", group="b")])
    for _ in range(500):
        queue.take(queue.next(lambda one: one.flow.key == "y"), None)
    assert keys_of(left_in_order(queue)[:20]).count("x") == pytest.approx(10, abs=1)


@pytest.mark.parametrize("counted", [0, 10**8])
def test_a_provider_that_counts_wrongly_does_not_stop_the_turns(counted):
    queue = waiting([*many(300, "a"), *many(300, "b")])
    order = []
    for number in range(200):
        (one,) = queue.take(queue.next(always), None)
        queue.settle(one, counted if number < 100 and one.flow.key == "a" else 1)
        order.append(one.flow.key)
    assert order[100:].count("a") == pytest.approx(50, abs=10)


def test_tokens_that_the_provider_counted_replace_those_expected():
    queue = waiting([*many(300, "a", tokens=10), *many(300, "b", tokens=10)])
    order = []
    for _ in range(200):
        (one,) = queue.take(queue.next(always), None)
        queue.settle(one, 30 if one.flow.key == "a" else 10)
        order.append(one.flow.key)
    assert order.count("b") == pytest.approx(150, abs=3)


def test_keys_that_wait_no_longer_are_forgotten():
    queue = waiting(many(4 * _MAX_IDLE_MEMBERS, "busy"))
    for number in range(3 * _MAX_IDLE_MEMBERS):
        (one,) = many(1, f"k{number}")
        queue.add(one)
        for _ in range(2):
            queue.take(queue.next(always), None)
    assert len(queue._tiers["default"].members) <= 2 * _MAX_IDLE_MEMBERS


# End users


def test_end_users_share_the_part_of_their_key_evenly():
    users = [one for name in "xyz" for one in many(200, "k", user=name)]
    queue = waiting([*many(400, "other"), *users])
    first = left_in_order(queue)[:300]
    assert keys_of(first).count("other") == pytest.approx(150, abs=2)
    of_users = [one.flow.user for one in first if one.flow.user]
    assert [of_users.count(name) for name in "xyz"] == pytest.approx([50] * 3, abs=2)


# Tiers


def test_a_better_tier_leaves_first():
    queue = waiting([*many(3, "bulk", "flex"), *many(3, "q"), *many(3, "vip", "priority")])
    assert keys_of(left_in_order(queue)) == ["vip"] * 3 + ["q"] * 3 + ["bulk"] * 3


@pytest.mark.parametrize("tier", ["default", "flex"])
def test_a_worse_tier_gets_its_minimum_share(tier):
    queue = waiting([*many(2000, "vip", "priority"), *many(2000, "bulk", tier)])
    first = keys_of(left_in_order(queue))[:1000]
    assert first.count("bulk") == pytest.approx(1000 * MIN_TIER_SHARE, abs=2)


def test_a_tier_saves_no_credit_while_it_does_not_wait():
    queue = waiting(many(1000, "q"))
    for _ in range(500):
        queue.take(queue.next(always), None)
    for one in many(10, "bulk", "flex"):
        queue.add(one)
    assert keys_of(left_in_order(queue)[:15]) == ["q"] * 15


def test_a_tier_saves_no_credit_while_it_may_not_leave():
    """As where bulk work waits for the quota of its model, and other models do not."""
    queue = waiting([*many(2000, "q"), *many(500, "bulk", "flex", group="other")])
    for _ in range(1500):
        queue.take(queue.next(lambda one: one.flow.tier != "flex"), None)
    assert keys_of(left_in_order(queue)[:100]).count("bulk") <= 0.05 * 100 + 2


def test_a_tier_that_was_served_more_than_its_minimum_is_served_later_as_well():
    queue = waiting([*many(3000, "q"), *many(3000, "bulk", "flex")])
    for _ in range(200):  # while no other may leave
        queue.take(queue.next(lambda one: one.flow.tier == "flex"), None)
    assert keys_of(left_in_order(queue)[:400]).count("bulk") >= 0.045 * 400


# Calls


def test_a_call_is_filled_in_the_order_of_turns():
    queue = waiting([*many(6, "a"), *many(6, "b", share=2), *many(1, "c", "priority")])
    first, *_ = left(queue, most=7)
    assert keys_of(first)[0] == "c"
    assert sorted(keys_of(first)) == ["a", "a", "b", "b", "b", "b", "c"]


def test_other_groups_are_not_in_the_call():
    queue = waiting([*many(2, "a"), *many(2, "b", group="other"), *many(2, "c")])
    assert sorted(sorted(keys_of(call)) for call in left(queue, most=9)) == [
        list("aacc"),
        ["b"] * 2,
    ]


class NoneMayJoin:
    is_full = False

    def try_add(self, _):
        return False


@pytest.mark.parametrize("call", [NoneMayJoin(), CallOf(64)])
def test_many_end_users_are_looked_at_once_for_a_call(call):
    users = 500
    waits = [one for n in range(users) for one in many(2, "k", user=f"u{n}")]
    queue = waiting([*many(1, "first"), *waits])
    first, calls = queue.next(always), 0

    def count(*_):
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        queue.take(first, call)
    finally:
        sys.setprofile(None)
    assert calls < 20 * users
