"""The error of a request that no deployment could serve."""

import pytest

from app.dispatch.job.caller_errors import error_of_failures
from app.dispatch.queue.slot_queue import SlotQueue
from app.errors import (
    BadRequest,
    NoProviderAvailable,
    Overloaded,
    ProviderUnavailable,
    RateLimited,
    Rejected,
    Throttled,
    UpstreamFailed,
)
from tests.dispatch.parts import T, attempt, deployment, expected, pool

REFUSED = Rejected("your input is invalid")
FAILED = ProviderUnavailable("failed with 503")


@pytest.mark.parametrize(
    ("failures", "is_refused_alone", "error"),
    [
        ([REFUSED], True, BadRequest),
        ([REFUSED, REFUSED], True, BadRequest),
        ([REFUSED], False, NoProviderAvailable),  # another request of its batch may be to blame
        ([REFUSED, FAILED], True, UpstreamFailed),
        ([FAILED], False, UpstreamFailed),
        ([Throttled("said no")], False, RateLimited),
        ([REFUSED, Throttled("said no")], True, RateLimited),
        ([], False, NoProviderAvailable),
    ],
)
def test_caller_is_told_what_failed(failures, is_refused_alone, error):
    members = [deployment("a"), deployment("b")]
    told = error_of_failures(pool(*members), members, failures, is_refused_alone, expected(1), T)
    assert isinstance(told, error)


@pytest.mark.parametrize(("ago", "error"), [(59, Overloaded), (30, RateLimited)])
def test_full_queue_is_what_is_told_where_an_attempt_would_wait_for_the_quota(ago, error):
    """Before a quota with room within two seconds an attempt waits, if the queue has room."""
    one = deployment("a", SlotQueue(2, max_waiting=1), requests_per_minute=2)
    one.queue.submit(attempt(one, group=None), T - ago)
    one.queue.submit(attempt(one, group=None), T - ago)
    one.queue.submit(attempt(one, group=None), T)
    assert one.queue.is_full
    assert one.quota_wait_s(expected(1), T) > 0
    assert isinstance(error_of_failures(pool(one), [one], [], False, expected(1), T), error)
