"""A part has only the listed transitions and keeps its invariants."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.job.part import NEXT_STATES, PartState
from app.errors import (
    BadRequest,
    ClientClosedRequest,
    DeadlineExceeded,
    ProviderTimeout,
    ProviderUnavailable,
    Rejected,
    UpstreamFailed,
)
from tests.dispatch.asking import Asking
from tests.dispatch.parts import T, attempt, deployment, part, vectors

ENDS = [PartState.ANSWERED, PartState.SPLIT, PartState.STOPPED]
PAIRS = [(before, after) for before in PartState for after in PartState]


# A part


def test_final_states_have_no_transition():
    assert [state for state in PartState if not NEXT_STATES[state]] == ENDS


@pytest.mark.parametrize(("before", "after"), PAIRS, ids=lambda state: state.value)
def test_transition_that_is_not_listed_raises(before, after):
    asking = Asking()
    changed = part(1, state=before)
    if before is PartState.RUNNING:
        changed.attempts.append(attempt(asking.deployments[0]))
    by = attempt(asking.deployments[0]) if after is PartState.RUNNING else None
    if after in NEXT_STATES[before]:
        asking.job._state._parts.transition(changed, after, by)
        assert changed.state is after
        assert changed.attempts == ([by] if by else [])
    else:
        with pytest.raises(AssertionError, match="→"):
            asking.job._state._parts.transition(changed, after, by)
        assert changed.state is before


@pytest.mark.parametrize("state", PartState, ids=lambda state: state.value)
@pytest.mark.parametrize("attempts", range(4))
def test_running_part_has_one_or_two_attempts_and_others_none(state, attempts):
    checked = part(1, state=state, attempts=[attempt(deployment()) for _ in range(attempts)])
    is_right = attempts in (1, 2) if state is PartState.RUNNING else attempts == 0
    if is_right:
        checked.check()
    else:
        with pytest.raises(AssertionError):
            checked.check()


def test_part_without_items_raises():
    with pytest.raises(AssertionError, match="without items"):
        part(0).check()


def test_part_lists_deployments_called():
    a, b = deployment("a"), deployment("b")
    made = part(3, last_errors={a: ProviderUnavailable("failed with 503")}, attempts=[attempt(b)])
    assert made.called == [a, b]
    assert (made.start, made.stop, made.size) == (0, 3, 3)


# A job


def test_answered_request_is_settled_and_wakes_its_callers():
    asking = Asking(size=2)
    asking.job.advance(T)
    (one,) = asking.take()
    asking.answer(one, T + 0.5)
    assert asking.job.is_settled
    assert asking.wakes >= 1
    outcome = asking.job.outcome()
    assert outcome.vectors == vectors([0, 1])
    assert (outcome.attempts, outcome.upstream_seconds) == (1, 0.5)
    assert outcome.purchases == {("a", "m"): 1}
    assert [(start, stop) for start, stop, *_ in asking.published] == [(0, 2)]
    asking.assert_nothing_left()


@given(st.integers(1, 40), st.integers(1, 7), st.randoms(use_true_random=False))
def test_parts_answered_in_any_order_are_joined_in_order(size, most, dice):
    asking = Asking(deployment("a", max_inputs=most, provider={"merge": False}), size=size)
    asking.job.advance(T)
    attempts = asking.take()
    while attempts:
        asking.answer(attempts.pop(dice.randrange(len(attempts))), T + 1)
        attempts += asking.take()
    assert asking.job.outcome().vectors == vectors(range(size))
    assert sorted(i for start, stop, *_ in asking.published for i in range(start, stop)) == list(
        range(size)
    )
    asking.assert_nothing_left()


def test_failure_is_retried_at_once_at_another_deployment():
    a, b = deployment("a"), deployment("b")
    asking = Asking(a, b)
    asking.job.advance(T)
    (first,) = asking.take()
    asking.answer(first, T + 1, ProviderUnavailable("failed with 503"))
    (second,) = asking.take()
    assert {first.deployment, second.deployment} == {a, b}
    asking.answer(second, T + 2)
    assert asking.job.outcome().attempts == 2
    asking.assert_nothing_left()


def test_only_deployment_is_retried_after_a_pause():
    asking = Asking()
    asking.job.advance(T)
    (first,) = asking.take()
    asking.answer(first, T + 1, ProviderUnavailable("failed with 503"))
    wake_at = asking.job.advance(T + 1)
    assert asking.take() == []
    assert T + 1 < wake_at <= T + 1.2
    asking.job.advance(wake_at)
    (second,) = asking.take()
    asking.answer(second, T + 2)
    assert asking.job.outcome().vectors == vectors([0])


def test_failed_part_fails_the_request_which_reports_purchases():
    asking = Asking(deployment("a", max_inputs=1, provider={"merge": False}), size=3)
    asking.job.advance(T)
    attempts = asking.take()
    asking.answer(attempts[2], T + 1)
    asking.answer(attempts[0], T + 1, Rejected("your input is invalid"))
    assert asking.job.is_settled
    with pytest.raises(BadRequest, match="your input is invalid") as caught:
        asking.job.outcome()
    assert (caught.value.attempts, caught.value.purchases) == (3, {("a", "m"): 2})
    asking.answer(attempts[1], T + 2)  # too late, without effect
    asking.assert_nothing_left()


def test_repeated_failures_end_in_an_error():
    asking = Asking()
    for seconds in range(0, 30, 3):
        asking.job.advance(T + seconds)
        for one in asking.take():
            asking.answer(one, T + seconds, ProviderUnavailable("failed with 503"))
    with pytest.raises(UpstreamFailed):
        asking.job.outcome()
    asking.assert_nothing_left()


def test_deadline_ends_a_request_and_cancels_its_call():
    asking = Asking(seconds=5)
    asking.job.advance(T)
    (one,) = asking.take()
    batch = one.batch
    assert asking.job.advance(T + 1) == T + 5
    asking.job.advance(T + 5)
    assert asking.job.finished
    assert batch.deadline.cancelled
    with pytest.raises(DeadlineExceeded, match="5"):
        asking.job.outcome()
    asking.answer(one, T + 6)
    asking.assert_nothing_left()


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (ProviderUnavailable("failed with 503"), DeadlineExceeded),
        (ProviderTimeout("did not answer in time"), DeadlineExceeded),
        (Rejected("too long"), BadRequest),  # of the only deployment: the caller's fault
    ],
)
def test_failure_just_before_the_deadline_is_a_504_unless_the_caller_is_at_fault(failure, error):
    asking = Asking(seconds=5)
    asking.job.advance(T)
    (one,) = asking.take()
    asking.answer(one, T + 4.995, failure)
    with pytest.raises(error):
        asking.job.outcome()
    asking.assert_nothing_left()


def test_shared_job_runs_until_the_latest_deadline():
    asking = Asking(seconds=5)
    asking.job.advance(T)
    asking.job.extend(T + 9)
    asking.job.advance(T + 5)
    assert not asking.job.finished
    asking.job.advance(T + 9)
    assert asking.job.finished


def test_cancelled_job_withdraws_queued_attempts():
    a = deployment("a")
    a.queue.slots = a.queue.free = 1
    first, second = Asking(a), Asking(a)
    first.job.advance(T)
    (one,) = first.take()
    second.job.advance(T)
    assert a.queue.waiting == 1
    second.job.cancel(T)
    assert a.queue.waiting == 0
    first.answer(one, T + 1)
    first.assert_nothing_left()


def test_cancelled_job_reports_what_it_has_bought():
    asking = Asking(deployment("a", max_inputs=1, provider={"merge": False}), size=2)
    asking.job.advance(T)
    other, one = asking.take()
    asking.answer(one, T + 1)
    batch = other.batch
    asking.job.cancel(T + 2, ClientClosedRequest.before_answer())
    assert batch.deadline.cancelled
    with pytest.raises(ClientClosedRequest) as caught:
        asking.job.outcome()
    assert (caught.value.attempts, caught.value.purchases) == (2, {("a", "m"): 1})
    asking.answer(other, T + 3)
    asking.assert_nothing_left()
