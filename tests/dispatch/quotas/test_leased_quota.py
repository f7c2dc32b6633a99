"""A worker's lease of a quota, without a store: tests/limits/leases/ has one."""

import pytest

from app.dispatch.quotas.call_reports import FINAL_S
from app.dispatch.quotas.lease import EXCHANGE_S, LEASE_S, Lease
from app.dispatch.quotas.leased_quota import LeasedQuota
from tests.dispatch.parts import T

CALL = 10  # tokens of a call


def lease(calls=0, tokens=0, **fields):
    """Return the store's answer: a lease of a quota that two workers use."""
    given = {"is_leased": True, "is_known": True, "members": 2, "window_wait": 0, "pace_wait": 0}
    given |= {"spare_calls": 0, "spare_tokens": 0, "share_wait": 30, "rank": 0}
    return Lease(calls=calls, tokens=tokens, **(given | fields))


@pytest.fixture
def quota():
    """A quota of 60 calls and 6,000 tokens a minute, of a host with two workers."""
    return LeasedQuota(60, 6000, workers=2)


def exchange(quota, now, answer):
    """Make an exchange, answered at once; return the question."""
    asked = quota.start_exchange(now)
    quota.end_exchange(asked, answer, now)
    return asked


def sent(quota, now, most=100):
    """Return how many calls leave now."""
    number = 0
    while number < most and not quota.pause_s(CALL, now) and quota.reserve(CALL, now):
        number += 1
    return number


def test_without_a_store_a_worker_has_its_share(quota):
    assert sent(quota, T) == 16  # half of 30 calls, and one
    assert quota.wait_s(CALL, T, calls=15) > 0
    assert not quota.is_leased


@pytest.mark.parametrize(("calls", "tokens", "number"), [(3, 1000, 3), (30, 25, 2), (0, 0, 0)])
def test_calls_leave_as_far_as_the_lease_goes(quota, calls, tokens, number):
    exchange(quota, T, lease(calls, tokens))
    assert sent(quota, T) == number


def test_lease_expires_counted_from_the_question(quota):
    asked = quota.start_exchange(T)
    quota.end_exchange(asked, lease(3, 1000), T + LEASE_S - 1)
    assert sent(quota, T + LEASE_S - 0.5, most=1) == 1
    assert sent(quota, T + LEASE_S) == 0


def test_call_that_lacks_a_lease_asks_for_one_soon(quota):
    needs = []
    quota.on_need = lambda: needs.append(1)
    exchange(quota, T, lease())
    assert quota.pause_s(CALL, T) > 0
    assert quota.pause_s(CALL, T) > 0
    assert len(needs) == 1
    asked = exchange(quota, T, lease(window_wait=1))
    assert asked.needed == (1, CALL)
    assert quota.pause_s(CALL, T) == pytest.approx(1)
    assert len(needs) == 1  # not before the time that the store has named
    assert quota.pause_s(CALL, T + 1) > 0
    assert len(needs) == 2


def test_without_room_for_long_a_call_is_refused(quota):
    exchange(quota, T, lease())
    quota.pause_s(CALL, T)
    exchange(quota, T, lease(window_wait=20))
    assert quota.wait_s(CALL, T) == pytest.approx(20)
    assert quota.pause_s(CALL, T) is None
    assert quota.reserve(CALL, T) is None


def test_what_is_not_needed_is_returned_and_not_used(quota):
    exchange(quota, T, lease(30, 3000))
    asked = quota.start_exchange(T + EXCHANGE_S)
    assert asked.kept[0] <= 1
    assert sent(quota, T + EXCHANGE_S) <= 1


def test_calls_are_reported_once_their_tokens_are_counted(quota):
    exchange(quota, T, lease(3, 1000))
    first, second = quota.reserve(CALL, T), quota.reserve(CALL, T + 0.5)
    quota.settle(second, 7)
    asked = exchange(quota, T + 1, lease())
    assert asked.calls == [(0.5, 7)]
    assert asked.kept[1] >= CALL  # of the first
    asked = exchange(quota, T + FINAL_S, lease())
    assert asked.calls == [(FINAL_S, CALL)]
    assert asked.final_ever == 2
    quota.release(first)  # too late to change anything
    assert exchange(quota, T + FINAL_S + 1, lease()).calls == []


def test_report_without_an_answer_is_made_again(quota):
    exchange(quota, T, lease(3, 1000))
    quota.settle(quota.reserve(CALL, T), 7)
    asked = exchange(quota, T + 1, None)
    again = exchange(quota, T + 2, lease())
    assert (asked.calls, again.calls) == ([(1, 7)], [(2, 7)])
    assert asked.final_ever == again.final_ever == 1


def test_store_that_has_lost_its_data_gets_the_last_minute_again(quota):
    exchange(quota, T, lease(3, 1000))
    quota.settle(quota.reserve(CALL, T), 7)
    exchange(quota, T + 1, lease())
    exchange(quota, T + 2, lease(is_known=False, is_leased=False))
    assert exchange(quota, T + 3, lease()).calls == [(3, 7)]


def test_released_call_is_not_reported(quota):
    exchange(quota, T, lease(1, CALL))
    quota.release(quota.reserve(CALL, T))
    assert sent(quota, T) == 1


def test_share_begins_when_the_shares_of_all_fit(quota):
    exchange(quota, T, lease())
    exchange(quota, T + 1, None)
    assert sent(quota, T + 1) == 0
    assert sent(quota, T + 31) == 0
    assert sent(quota, T + 33) == 1  # the first one that is due, at 30 calls a minute
    assert 1 < quota.pause_s(CALL, T + 33) <= 2.1


def test_what_is_spare_leaves_at_once_when_the_store_is_lost(quota):
    exchange(quota, T, lease(spare_calls=8, spare_tokens=1000))
    exchange(quota, T + 1, None)
    assert sent(quota, T + 1) == 4  # half of it: another worker has the other


def test_left_is_what_the_lease_has(quota):
    assert quota.calls_and_tokens_left(T) == (30, 3000)
    exchange(quota, T, lease(3, 1000))
    assert sent(quota, T, most=1) == 1
    assert quota.calls_and_tokens_left(T) == (2, 1000 - CALL)
    assert quota.calls_and_tokens_left(T + LEASE_S) == (0, 0)
