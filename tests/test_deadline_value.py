"""A deadline: it moves back for the patient, and never again once it was cancelled."""

import math
import time

import pytest

from app.deadline import Deadline


@pytest.fixture
def clock(monkeypatch):
    """A monotonic clock that stands still until it is set."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_remaining_counts_down_and_goes_below_zero(clock):
    deadline = Deadline(1005.0)
    assert deadline.remaining() == 5
    clock[0] = 1004.5
    assert deadline.remaining() == 0.5
    clock[0] = 1007
    assert deadline.remaining() == -2


def test_extending_only_moves_it_back(clock):
    deadline = Deadline(1005.0)
    deadline.extend(1003.0)
    assert deadline.at == 1005
    deadline.extend(1010.0)
    assert deadline.remaining() == 10


def test_cancelling_interrupts_who_waits_and_leaves_no_time(clock):
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


def test_who_comes_after_the_cancellation_is_interrupted_at_once(clock):
    interrupted = []
    deadline = Deadline(1005.0)
    deadline.cancel()  # nobody is there to be told
    deadline.on_cancel(lambda: interrupted.append("now"))
    assert interrupted == ["now"]


def test_only_the_last_who_waits_is_interrupted(clock):
    interrupted = []
    deadline = Deadline(1005.0)
    deadline.on_cancel(lambda: interrupted.append("first"))
    deadline.on_cancel(lambda: interrupted.append("second"))
    deadline.cancel()
    assert interrupted == ["second"]
