"""Limiters in memory and windows in a real Valkey, all by a clock that tests set."""

import pytest

from app.limits.counters.memory import MemoryWindows
from app.limits.counters.redis import SharedWindows
from app.limits.limiter import Limiter
from tests.support.clock import Clock

#: In seconds, UTC, and far ahead: Valkey expires keys by a clock of its own.
MIDNIGHT = 86_400.0 * 27_000


@pytest.fixture
def clock():
    """The clock of limiters and windows, at the beginning of a day."""
    return Clock(MIDNIGHT)


@pytest.fixture
def make(clock):
    """Makes limiters that count in memory."""

    def make(workers=1, prices=None, count_cached=True):
        return Limiter(MemoryWindows(workers, clock), prices, count_cached)

    return make


@pytest.fixture
def make_windows(valkey, redis):
    """Makes windows in the server, one for each worker."""
    made = []

    def make(clock=None, url=valkey.url, timeout=0.5):
        made.append(SharedWindows(url, timeout=timeout, clock=clock))
        return made[-1]

    yield make
    for windows in made:
        windows.close()


@pytest.fixture
def make_quiet_windows(make_windows):
    """Makes windows in the server without a background task: tests send what is to be sent."""

    def make(clock=None, **options):
        windows = make_windows(clock, **options)
        windows.remote.wake = lambda: None
        return windows

    return make
