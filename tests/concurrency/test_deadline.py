"""`Deadline`: extension, cancellation, interrupted waits."""

import math
import time

import pytest

from app.concurrency.deadline import Deadline


@pytest.fixture
def clock(monkeypatch):
    """A monotonic clock that tests set."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_remaining_counts_down_below_zero(clock):
    deadline = Deadline(1005.0)
    assert deadline.remaining() == 5
    clock[0] = 1004.5
    assert deadline.remaining() == 0.5
    clock[0] = 1007
    assert deadline.remaining() == -2


def test_extend_never_moves_it_forward(clock):
    deadline = Deadline(1005.0)
    deadline.extend(1003.0)
    assert deadline.at == 1005
    deadline.extend(1010.0)
    assert deadline.remaining() == 10


def test_cancel_interrupts_the_wait_and_leaves_no_time(clock):
    interrupted = []
    deadline = Deadline(1005.0)
    deadline.on_cancel(lambda: interrupted.append("now"))
    assert not interrupted
    assert not deadline.cancelled
    deadline.cancel()
    assert interrupted == ["now"]
    assert deadline.cancelled
    assert deadline.remaining() == -math.inf


def test_a_cancelled_deadline_cannot_be_extended(clock):
    deadline = Deadline(1005.0)
    deadline.cancel()
    deadline.extend(2000.0)
    assert deadline.remaining() == -math.inf


def test_wait_after_a_cancellation_is_interrupted_at_once(clock):
    interrupted = []
    deadline = Deadline(1005.0)
    deadline.cancel()  # nothing is registered yet
    deadline.on_cancel(lambda: interrupted.append("now"))
    assert interrupted == ["now"]


def test_only_the_last_registered_wait_is_interrupted(clock):
    interrupted = []
    deadline = Deadline(1005.0)
    deadline.on_cancel(lambda: interrupted.append("first"))
    deadline.on_cancel(lambda: interrupted.append("second"))
    deadline.cancel()
    assert interrupted == ["second"]
