"""A wrong count of tokens in a provider's answer stops its deployment for a minute at the most."""

import pytest

from app.dispatch.quotas.leased_quota import LeasedQuota
from app.dispatch.quotas.quota import MAX_COUNT_FACTOR, Quota
from app.dispatch.quotas.quota_window import WINDOW_S
from tests.dispatch.parts import T
from tests.dispatch.quotas.test_leased_quota import exchange, lease

MISTAKE = 100_000_000  # the most that `app.providers.bodies` believes


@pytest.mark.parametrize(("limit", "expected"), [(1000, 10), (1000 / 3, 10), (1000, 500)])
def test_call_may_leave_a_minute_after_a_mistaken_count(limit, expected):
    quota = Quota(None, limit)
    quota.settle(quota.reserve(expected, T), MISTAKE)
    assert quota.wait_s(10, T + 1) == pytest.approx(WINDOW_S - 1)
    assert quota.wait_s(10, T + WINDOW_S) == 0
    assert quota.pause_s(10, T + WINDOW_S) == 0


def test_mistaken_count_of_a_leased_quota_makes_no_debt_of_more_than_a_minute():
    quota = LeasedQuota(None, 6000, workers=2)
    exchange(quota, T, lease(1, 1000))
    quota.settle(quota.reserve(10, T), MISTAKE)
    asked = exchange(quota, T + 1, lease())
    assert asked.kept[1] >= -3000  # its share
    assert [tokens for _, tokens in asked.calls] == [3000]


def test_count_above_the_limit_is_believed_where_it_was_expected():
    quota = Quota(None, 100)
    quota.settle(quota.reserve(150, T), 300)
    assert quota.wait_s(1, T + 2 * WINDOW_S) == pytest.approx(WINDOW_S)
    assert quota.wait_s(1, T + 3 * WINDOW_S) == 0


def test_count_within_the_limit_is_believed_whatever_was_expected():
    """A provider may add a prompt to each text."""
    quota = Quota(None, 1000)
    quota.settle(quota.reserve(1, T), 500)
    assert quota.tokens_left(T) == 500
    assert MAX_COUNT_FACTOR < 500
