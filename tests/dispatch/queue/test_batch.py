"""A batch sums up its attempts, and its call may take as long as one of them is waited for."""

import pytest

from app.dispatch.queue.attempts import AttemptState
from tests.dispatch.parts import T, attempt, batch, deployment


def in_flight(*attempts):
    """A batch whose call has started."""
    made = batch(*attempts)
    for one in attempts:
        one.state = AttemptState.IN_FLIGHT
    return made


def test_a_batch_holds_the_sums_and_items_of_its_attempts():
    a = deployment()
    made = batch(attempt(a, 2, tokens=5), attempt(a, 3, tokens=7, is_probe=True))
    assert (made.item_count, made.tokens, made.is_probe) == (5, 12, True)
    assert list(made.items) == [item for one in made.attempts for item in one.call.items]


def test_a_batch_is_awaited_while_one_of_its_attempts_is():
    a = deployment()
    made = in_flight(attempt(a), attempt(a))
    first, second = made.attempts
    assert made.is_awaited
    first.state = AttemptState.ABANDONED
    assert made.is_awaited
    second.state = AttemptState.ABANDONED
    assert not made.is_awaited


@pytest.mark.parametrize(
    ("limits", "is_added"),
    [
        ({}, True),
        ({"max_inputs": 1}, False),
        ({"max_tokens": 15}, False),
        ({"tokens_per_minute": 15}, False),
    ],
    ids=str,
)
def test_an_attempt_is_added_where_the_call_and_the_quota_have_room(limits, is_added):
    a = deployment(**limits)
    made, further = batch(attempt(a, tokens=10)), attempt(a, tokens=10)
    assert made.try_add(further, T) == is_added
    assert (further in made.attempts) == is_added
    assert (made.item_count, made.tokens) == ((2, 20) if is_added else (1, 10))


def test_deadline_of_a_call_is_the_latest_of_its_attempts():
    a = deployment()
    made = in_flight(*(attempt(a, deadline=T + seconds) for seconds in (10, 30, 20)))
    made.deadline.set_timeout_at(T + 25)
    assert made.deadline.at == T + 25  # the provider's own timeout
    made.attempts[1].state = AttemptState.ABANDONED
    assert made.deadline.at == T + 20
    made.attempts[0].deadline.extend(T + 22)
    assert made.deadline.at == T + 22
    made.deadline.cancel()
    assert made.deadline.at == float("-inf")
