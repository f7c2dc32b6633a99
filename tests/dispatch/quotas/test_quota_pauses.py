"""Calls of a quota are spaced, after a burst of half of it."""

from bisect import bisect_left

import pytest

from app.dispatch.quotas.quota import Quota
from tests.dispatch.parts import T


def most_within(seconds, times):
    """Return the most of these times, in order, that are within so many seconds."""
    return max(bisect_left(times, start + seconds) - i for i, start in enumerate(times))


def sent_when_allowed(quota, tokens, seconds):
    """Return when calls leave that wait for nothing but the quota."""
    now, left = T, []
    while now < T + seconds:
        pause = quota.pause_s(tokens, now)
        if pause == 0 and quota.reserve(tokens, now):
            left.append(now)
        else:
            now += max(pause or 0.0, 0.05)
    return left


@pytest.mark.parametrize("requests", [10, 33, 100])
@pytest.mark.parametrize("unit", ["calls", "tokens"])
def test_calls_are_spaced_after_a_burst_of_half_the_quota(requests, unit):
    """In the third minute the flow is smooth, and uses the quota."""
    quota = Quota(requests, None) if unit == "calls" else Quota(None, requests * 7)
    left = sent_when_allowed(quota, 7, 240)
    assert sum(when == T for when in left) == pytest.approx(requests / 2, abs=1.01)
    assert most_within(60, left) <= requests
    late = [when for when in left if when >= T + 120]
    assert len(late) >= 0.95 * 2 * requests - 2
    assert most_within(6, late) <= 0.15 * requests + 2


def test_call_is_not_spaced_beyond_its_deadline():
    quota = Quota(4, None)
    assert [quota.reserve(1, T) is not None for _ in range(3)] == [True] * 3
    pause = quota.pause_s(1, T)
    assert pause > 10
    assert quota.pause_s(1, T, deadline=T + pause / 2) == 0
    assert quota.reserve(1, T)
    assert quota.pause_s(1, T, deadline=T + 1) is None  # a longer wait for room: it is refused
    assert quota.wait_s(1, T) > 0


def test_released_and_settled_calls_are_not_spaced_after():
    quota = Quota(None, 100)
    for kept in (0, 10):
        reservation = quota.reserve(100, T)
        quota.settle(reservation, kept) if kept else quota.release(reservation)
        assert quota.pause_s(10, T) == 0
