"""A part with two attempts, hedged or late: the failure of one leaves it to the other."""

import pytest

from app.dispatch.queue.attempts import NotSent
from app.errors import (
    ClientError,
    InternalError,
    Overloaded,
    ProviderUnavailable,
    Rejected,
    Throttled,
)
from tests.dispatch.asking import Asking
from tests.dispatch.members import good
from tests.dispatch.parts import T, deployment, vectors
from tests.dispatch.simulator import simulated

LATE = 10.1  # seconds after which another deployment is called beside one without a known p95
TOO_LARGE = Rejected("too many tokens in one request", too_large=True)


def late(size=1):
    """Return a request with a late call at one deployment, and one beside it at another."""
    alone = {"merge": False}  # each part has a call of its own
    asking = Asking(deployment("a", provider=alone), deployment("b", provider=alone), size=size)
    asking.job.advance(T)
    (first,) = asking.take()
    asking.job.advance(T + LATE)
    (beside,) = asking.take()
    return asking, first, beside


def no_thread():
    return Overloaded("The proxy is overloaded.", retry_after=1)


@pytest.mark.parametrize("error", [no_thread(), InternalError("The proxy failed.")], ids=repr)
@pytest.mark.parametrize("failed", [0, 1])
def test_error_of_ours_in_one_attempt_leaves_the_request_to_the_other(error, failed):
    asking, *attempts = late()
    asking.answer(attempts.pop(failed), T + LATE, error)
    assert not asking.job.finished
    asking.answer(attempts[0], T + LATE + 1)
    assert asking.job.outcome().vectors == vectors([0])
    asking.assert_nothing_left()


def test_errors_of_ours_in_both_attempts_end_the_request():
    asking, first, beside = late()
    asking.answer(beside, T + LATE, no_thread())
    asking.answer(first, T + LATE + 1, no_thread())
    with pytest.raises(Overloaded):
        asking.job.outcome()
    asking.assert_nothing_left()


@pytest.mark.parametrize("unsent", [NotSent("may not be called now"), no_thread()], ids=repr)
def test_failure_of_one_attempt_is_retried_and_charged_where_the_other_gets_no_call(unsent):
    asking, first, beside = late()
    asking.answer(first, T + LATE, ProviderUnavailable("failed with 503"))
    saved = asking.pool.retries._saved
    asking.answer(beside, T + LATE, unsent)
    assert asking.pool.retries._saved == pytest.approx(saved - 1)
    (again,) = asking.take()
    assert again.deployment is beside.deployment
    asking.answer(again, T + LATE + 1)
    assert asking.job.outcome().vectors == vectors([0])
    asking.assert_nothing_left()


@pytest.mark.parametrize("caching", [False, True])
def test_hedge_that_gets_no_thread_does_not_end_the_request(caching):
    def slow_at_last(world, call):
        return (1.0 if call.items == ["slow"] else 0.05), None

    tiers = {"m": [{"provider": "a"}, {"provider": "b", "tier": 1}]}
    members = {"a": slow_at_last, "b": good()}
    with simulated(members, tiers, hedge=True, caching=caching) as run:
        for i in range(100):
            run.ask("m", [f"{i}"], after=i * 0.05)
        run.ask("m", ["slow"], after=10)
        run.world.may_start = lambda: not 1010.01 < run.world.now < 1010.5
        run.to_the_end()
        assert not run.errors()


@pytest.mark.parametrize(
    "other",
    [
        ProviderUnavailable("failed with 503"),
        Throttled("asked us to slow down (429)"),
        NotSent("may not be called now"),
        Rejected("your input is invalid"),
        no_thread(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_part_that_one_deployment_refused_as_too_large_is_split_if_its_other_call_fails(other):
    asking, first, beside = late(size=4)
    asking.answer(first, T + LATE, TOO_LARGE)
    assert asking.take() == []  # the other call may still succeed
    asking.answer(beside, T + LATE + 1, other)
    now = T + LATE + 1
    while not asking.job.finished:
        now = max(now, asking.job.advance(now))
        for attempt in asking.take():
            assert attempt.size < 4
            asking.answer(attempt, now)
    assert asking.job.outcome().vectors == vectors(range(4))
    asking.assert_nothing_left()


def test_deployment_that_takes_smaller_calls_than_another_is_not_ejected_for_it():
    asking, first, beside = late(size=4)
    standing = first.deployment.standing
    asking.answer(first, T + LATE, TOO_LARGE)
    asking.answer(beside, T + LATE + 1)
    assert asking.job.outcome().vectors == vectors(range(4))
    assert not standing.breaker.has_refuted_400s


def test_item_that_one_deployment_refused_as_too_long_fails_with_its_other_call():
    asking, first, beside = late()
    asking.answer(first, T + LATE, TOO_LARGE)
    asking.answer(beside, T + LATE + 1, Rejected("your input is invalid"))
    with pytest.raises(ClientError, match="your input is invalid"):
        asking.job.outcome()
