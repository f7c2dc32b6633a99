"""Limiters in memory and windows in a real Valkey, all by a clock that tests set."""

import pytest

from app.limits.counters.memory import MemoryWindows
from app.limits.counters.redis import SharedWindows
from app.limits.limiter import Limiter
from tests.redis.patience import PATIENT_S
from tests.redis.patience import patient_steps as patient_steps
from tests.support.clock import Clock
from tests.support.server import eventually

#: In seconds, UTC, and far ahead: Valkey expires keys by a clock of its own.
MIDNIGHT = 86_400.0 * 27_000


def await_sent(*many):
    """Wait until all corrections and charges are sent."""
    for windows in many:
        task = windows.remote._task
        runs = task.runs + 2  # the one that goes on may have begun before, and the next
        eventually(lambda w=windows, t=task, n=runs: w.remote.wake() or t.runs >= n)
        assert (windows._changes, windows._charges, windows._sending) == ({}, {}, [])


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
def make_windows(valkey, redis, patient_steps):
    """Makes windows in the server, one for each worker."""
    made = []

    def make(clock=None, url=valkey.url, timeout=PATIENT_S):
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
        windows.remote._round_s = 3600
        return windows

    return make
