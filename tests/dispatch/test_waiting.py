"""The order in which attempts leave the queue: groups take turns, each in order."""

from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.waiting import WaitingGroups, fill, group_key
from tests.dispatch.parts import T, attempt, deployment


def always(_):
    return True


def left_in_order(groups, has_slot=always, most=1):
    """Take out attempts, at most so many of a group at a time, until no turn is left."""
    order = []
    while (turn := groups.next_group(has_slot)) is not None:
        key, _, group = turn
        taken = list(group)[:most]
        groups.take(key, taken)
        order += taken
    return order


def waiting(attempts):
    groups = WaitingGroups()
    for one in attempts:
        groups.add(one)
    return groups


def test_groups_take_turns():
    a = deployment()
    attempts = [attempt(a, group=group) for group in "xxxyz"]
    order = [one.group for one in left_in_order(waiting(attempts))]
    assert order == ["x", "y", "z", "x", "x"]


def test_a_group_whose_deployment_has_no_slot_is_passed_over():
    a, b = deployment("a"), deployment("b")
    attempts = [attempt(a), attempt(b), attempt(a)]
    groups = waiting(attempts)
    assert left_in_order(groups, lambda head: head.deployment is b) == [attempts[1]]
    assert groups.of_deployment(a) == [attempts[0], attempts[2]]
    assert groups.of_deployment(b) == []


def test_what_is_added_first_leaves_before_all_others():
    a = deployment()
    attempts = [attempt(a, group=group) for group in "xyzy"]
    groups = waiting(attempts[:2])
    groups.add_first(attempts[2:])
    assert left_in_order(groups) == [attempts[2], attempts[3], attempts[0], attempts[1]]


@given(st.lists(st.sampled_from(["x", "y", None]), max_size=12), st.integers(1, 4), st.data())
def test_each_attempt_leaves_once_and_in_the_order_of_its_group(names, most, data):
    a = deployment()
    attempts = [attempt(a, group=name) for name in names]
    groups = waiting(attempts)
    removed = data.draw(st.lists(st.sampled_from(attempts))) if attempts else []
    for one in removed:
        groups.remove(one)
    stay = [one for one in attempts if one not in removed]
    order = left_in_order(groups, most=most)
    assert sorted(order, key=id) == sorted(stay, key=id)
    for key in map(group_key, stay):
        of_group = [one for one in stay if group_key(one) == key]
        assert [one for one in order if group_key(one) == key] == of_group


def test_one_attempt_at_least_leaves_however_large_it_is():
    a = deployment(max_inputs=2, max_tokens=10)
    large, small = attempt(a, 5, tokens=50), attempt(a)
    assert fill([large, small], a, T) == [large]
    assert fill([small, large], a, T) == [small]
