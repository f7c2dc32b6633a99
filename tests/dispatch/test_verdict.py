"""The error of a request that no deployment could serve."""

import pytest

from app.dispatch.verdict import verdict
from app.errors import (
    BadRequest,
    NoProviderAvailable,
    ProviderUnavailable,
    RateLimited,
    Rejected,
    Throttled,
    UpstreamFailed,
)
from tests.dispatch.parts import T, deployment, expected, pool

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
def test_verdict_tells_the_caller_what_failed(failures, is_refused_alone, error):
    members = [deployment("a"), deployment("b")]
    told = verdict(pool(*members), members, failures, is_refused_alone, expected(1), T)
    assert isinstance(told, error)
