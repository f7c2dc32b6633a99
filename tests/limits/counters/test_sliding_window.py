"""The sliding window of a minute: its bound, and when a refused request is admitted."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from app.errors import RateLimited
from app.limits.counters.memory import MemoryWindows
from app.limits.counters.windows import Take
from app.limits.limiter import Limiter
from app.limits.periods import MINUTE
from tests.limits.callers import caller, left, outcome, request, served, settle
from tests.limits.conftest import MIDNIGHT
from tests.support.clock import Clock


def test_correction_applies_to_the_period_of_the_take(make, clock):
    limiter, team = make(), caller(tokens=100)
    grants = [limiter.admit(team, request(20)) for _ in range(3)]
    settle(limiter, grants[0], None)
    clock.now += 60  # all of it is in the minute before now, which counts whole
    assert left(served(limiter, team, 1), "tokens") == 59
    settle(limiter, grants[1], None)
    assert left(served(limiter, team, 1), "tokens") == 78
    clock.now += 120
    settle(limiter, grants[2], outcome(10**6))  # expired
    assert left(served(limiter, team, 1), "tokens") == 99


@settings(max_examples=100, deadline=None)
@given(
    limit=st.integers(1, 40),
    steps=st.lists(st.tuples(st.floats(0, 90), st.integers(1, 12)), max_size=60),
)
def test_decisions_are_those_of_the_limits_library(limit, steps):
    with pytest.MonkeyPatch.context() as monkeypatch:
        clock = Clock(MIDNIGHT)
        windows = MemoryWindows(clock=clock)
        monkeypatch.setattr(time, "time", clock)
        storage = MemoryStorage()
        library, item = SlidingWindowCounterRateLimiter(storage), RateLimitItemPerMinute(limit)
        for gap, cost in steps:
            clock.now += gap
            taken = windows.take([Take("name", limit, MINUTE, cost)])
            assert (taken.refused < 0) is library.hit(item, "name", cost=cost)
            remaining = library.get_window_stats(item, "name").remaining
            assert taken.windows[0].remaining == max(0, remaining)
        storage.timer.cancel()


@settings(max_examples=60, deadline=None)
@given(
    limit=st.integers(1, 50),
    offset=st.floats(0, 59.9),
    gaps=st.lists(st.floats(0, 50), max_size=60),
)
def test_request_is_admitted_after_retry_after(limit, offset, gaps):
    clock = Clock(MIDNIGHT)
    clock.now += offset
    limiter, team = Limiter(MemoryWindows(clock=clock)), caller(requests=limit)
    for gap in gaps:
        clock.now += gap / limit
        try:
            limiter.admit(team, request())
        except RateLimited as error:
            clock.now += error.retry_after + 0.01
            limiter.admit(team, request())


@settings(max_examples=60, deadline=None)
@given(limit=st.integers(1, 30), gaps=st.lists(st.floats(0, 10), min_size=20, max_size=120))
def test_no_minute_has_more_than_twice_the_limit(limit, gaps):
    """The sliding window counter is an approximation; this is its bound."""
    clock = Clock(MIDNIGHT)
    limiter, team = Limiter(MemoryWindows(clock=clock)), caller(requests=limit)
    let_in = []
    for gap in gaps:
        clock.now += gap
        try:
            limiter.admit(team, request())
        except RateLimited:
            continue
        let_in.append(clock.now)
    for start in let_in:
        assert sum(start <= at < start + 60 for at in let_in) <= 2 * limit
