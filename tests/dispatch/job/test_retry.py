"""The decision after a failure: each case; it changes no state."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.job.retry import (
    Fail,
    FailOver,
    Halve,
    Options,
    Retry,
    Wait,
    WaitForRest,
    decide,
    options_for,
)
from app.dispatch.queue.attempts import NotSent
from app.domain import Flow
from app.errors import (
    BadRequest,
    BrokenContract,
    ConnectionFailed,
    CredentialsRefused,
    ProviderTimeout,
    Rejected,
    Throttled,
    UpstreamFailed,
)
from tests.dispatch.job.decisions import (
    LASTING,
    REFUSED,
    SETTINGS,
    TOO_LARGE,
    TRANSIENT,
    A,
    B,
    after,
    cause,
)
from tests.dispatch.parts import T, attempt, part, pool

BULK = Flow("key", tier="flex")

# 1. Not sent


@pytest.mark.parametrize("has_other", [True, False])
def test_unsent_attempt_is_retried_without_cost(has_other):
    decision = after(NotSent("was not called"), has_other, failures=0, saved=0.0)
    assert decision == FailOver(cost=0.0)


# 2. Refused with 400


def test_too_large_call_is_halved():
    assert after(TOO_LARGE, size=2, saved=0.0) == Halve()


def test_too_large_single_item_is_refused():
    decision = after(TOO_LARGE, has_other=False)
    assert isinstance(decision, Fail)
    assert isinstance(decision.error, BadRequest)


def test_untrusted_400_is_retried_elsewhere():
    assert after(REFUSED) == FailOver(cost=1.0)
    assert after(REFUSED, batch_size=4) == FailOver(cost=0.25)


@pytest.mark.parametrize(
    "trusted",
    [{"trusts_400": True}, {"refused_by": (A, B)}, {"has_second_opinion": False}],
    ids=["it is trusted", "another refused it", "there is no other"],
)
def test_trusted_400_is_the_callers_fault(trusted):
    decision = after(REFUSED, **trusted)
    assert isinstance(decision, Fail)
    assert isinstance(decision.error, BadRequest)
    assert (decision.error.message, decision.error.param) == ("your input is invalid", "input")
    assert "your input" not in decision.error.log_message


@pytest.mark.parametrize(
    "trusted",
    [{"trusts_400": True}, {"refused_by": (A, B)}, {"has_other": False}, {"saved": 0.0}],
    ids=["it is trusted", "another refused it", "there is no other", "the budget is used up"],
)
def test_a_400_is_the_callers_fault_only_after_a_call_of_its_own(trusted):
    assert after(REFUSED, batch_size=3, **trusted) == Retry(never_merge=True, cost=0.0)


def test_a_400_to_a_part_that_another_refused_only_in_a_batch_is_checked_there_alone():
    """The 400 to the batch may be the fault of another request in it."""
    merged = attempt(B)
    merged.batch_size = 6
    refused = {"merged": merged, "has_other": False, "has_second_opinion": True}
    assert after(REFUSED, saved=0.0, **refused) == Retry(never_merge=True, cost=0.0)
    trusted = after(REFUSED, trusts_400=True, **refused)
    assert isinstance(trusted.error, BadRequest)
    unavailable = after(REFUSED, has_any=False, **refused)
    assert isinstance(unavailable.error, BadRequest)


def test_only_a_refusal_alone_counts_as_the_opinion_of_a_deployment():
    one, merged = attempt(A), attempt(B)
    merged.batch_size = 6
    refused = part(refused_attempts={A: one, B: merged}, last_errors={A: REFUSED, B: REFUSED})
    assert options_for(refused, one, pool(A, B), [A, B], T).has_second_opinion
    merged.batch_size = 1
    assert not options_for(refused, one, pool(A, B), [A, B], T).has_second_opinion


def test_unconfirmed_400_is_not_the_callers_fault():
    assert isinstance(after(REFUSED, saved=0.0).error, BadRequest)
    decision = after(REFUSED, saved=0.0, doubts_400=True)
    assert isinstance(decision, Fail)
    assert isinstance(decision.error, UpstreamFailed)
    assert decision.error.should_retry is None  # the SDK may try again
    assert "your input" not in decision.error.log_message


def test_doubtful_400_to_a_kind_that_all_refuse_is_told_where_the_budget_is_used_up():
    doubtful = {"saved": 0.0, "doubts_400": True, "is_kind_refused": True}
    assert isinstance(after(REFUSED, **doubtful).error, BadRequest)
    assert after(REFUSED, **{**doubtful, "saved": 1.0}) == FailOver(cost=1.0)
    assert isinstance(after(REFUSED, has_other=False, **doubtful).error, UpstreamFailed)
    assert after(REFUSED, batch_size=3, **doubtful) == Retry(never_merge=True, cost=0.0)


# 3. No deployment may be asked now


@pytest.mark.parametrize("has_any", [True, False])
def test_throttled_bulk_work_waits_for_the_end_of_the_rest_at_no_cost(has_any):
    throttled = Throttled("asked us to slow down (429)")
    waits = {"has_other": False, "has_any": has_any, "failures": 10, "saved": 0.0}
    assert after(throttled, flow=BULK, **waits) == WaitForRest()
    assert after(throttled, flow=BULK, has_other=True) == FailOver(cost=0.0)


@pytest.mark.parametrize("failure", [*TRANSIENT, *LASTING], ids=cause)
def test_without_available_deployment_the_part_waits(failure):
    assert after(failure, has_other=False, has_any=False, failures=10, saved=0.0) == Wait()


# 4. The same would fail again


@pytest.mark.parametrize("failure", LASTING, ids=cause)
def test_permanent_failure_is_not_retried_at_the_same_deployment(failure):
    assert after(failure, has_other=False, has_candidate=False) == Fail()
    assert after(failure, has_other=True) == FailOver(cost=cost_elsewhere(failure))


def test_timed_out_call_is_not_retried_at_the_same_deployment():
    assert after(ProviderTimeout("was too slow"), has_other=False) == Fail()


def test_temporarily_failed_deployment_is_retried_if_others_failed_permanently():
    assert after(CredentialsRefused("refused"), has_other=False) == Retry(
        never_merge=False, cost=1.0
    )


# 5. Too often, or no budget


@pytest.mark.parametrize("failure", [*TRANSIENT, *LASTING], ids=cause)
def test_part_fails_after_max_failures(failure):
    limit = SETTINGS.max_failures + 1  # one more for the second deployment
    assert after(failure, failures=limit - 1) != Fail()
    assert after(failure, failures=limit) == Fail()


@pytest.mark.parametrize("failure", TRANSIENT, ids=cause)
def test_part_fails_without_budget(failure):
    assert after(failure, has_other=False, saved=0.5) == Fail()
    assert after(failure, has_other=False, saved=0.5, batch_size=2) != Fail()


def cost_elsewhere(failure):
    return 0.0 if isinstance(failure, Throttled) else 1.0


def test_fail_over_after_refused_connection_or_429_is_free():
    assert after(Throttled("throttled"), saved=0.0) == FailOver(cost=0.0)
    refused = ConnectionFailed("could not be reached")
    assert after(refused, saved=0.0) == FailOver(cost=0.0)
    assert after(refused, has_other=False, saved=0.0) == Fail()


# 6. Another deployment, or the same after a pause


@pytest.mark.parametrize("failure", [TRANSIENT[0], TRANSIENT[2], *LASTING], ids=cause)
def test_another_deployment_is_asked_at_once(failure):
    assert after(failure) == FailOver(cost=cost_elsewhere(failure))
    assert after(failure, batch_size=4) == FailOver(cost=cost_elsewhere(failure) / 4)


@pytest.mark.parametrize("failure", TRANSIENT, ids=cause)
def test_only_deployment_is_retried(failure):
    assert after(failure, has_other=False) == Retry(never_merge=False, cost=1.0)


@pytest.mark.parametrize("failure", TRANSIENT, ids=cause)
def test_attempt_of_a_failed_merged_call_is_retried_alone(failure):
    assert after(failure, has_other=False, batch_size=4) == Retry(never_merge=True, cost=0.25)


@given(
    failure=st.sampled_from([*TRANSIENT, *LASTING, REFUSED, TOO_LARGE, NotSent("ejected")]),
    has_other=st.booleans(),
    has_any=st.booleans(),
    trusts_400=st.booleans(),
    failures=st.integers(1, 6),
    saved=st.sampled_from([0.0, 0.5, 20.0]),
    batch_size=st.integers(1, 5),
    size=st.integers(1, 3),
)
def test_decision_changes_no_state_and_is_within_the_budget(
    failure, has_other, has_any, trusts_400, failures, saved, batch_size, size
):
    has_any |= has_other
    failed = part(
        size,
        failures=[failure] * failures,
        last_errors={A: BrokenContract("x")},
        refused_attempts={A: attempt(A)},
    )
    one = attempt(A, size)
    one.batch_size = batch_size
    of = pool(A, B, settings=replace(SETTINGS, saved_retries=saved))
    before, budget = repr(failed), of.retries._saved
    decision = decide(failed, one, failure, of, Options(has_other, has_any, True, True, trusts_400))
    assert repr(failed) == before
    assert of.retries._saved == budget == saved
    if isinstance(decision, Retry | FailOver):
        assert decision.cost <= saved
        assert 0 <= decision.cost <= 1
    if isinstance(decision, FailOver):
        assert has_other or isinstance(failure, NotSent)
    if isinstance(decision, Fail) and decision.error is not None:
        assert isinstance(failure, Rejected)
        assert batch_size == 1
