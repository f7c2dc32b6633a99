"""What a job does to other objects, such as observers, it does after its lock is released."""

import sys

import pytest

from app.dispatch.events import Events
from tests.dispatch.arrangements import load
from tests.dispatch.members import failing, good
from tests.dispatch.simulator import simulated

TIERS = {"m": [{"provider": "a"}, {"provider": "b", "tier": 1}]}


def is_lock_held():
    """Whether the caller was called by a method of `JobState`: the lock of a job is held then."""
    frame = sys._getframe()
    while frame is not None and not frame.f_code.co_filename.endswith("job_state.py"):
        frame = frame.f_back
    return frame is not None


class Observer(Events):
    """Records whether the lock of a job was held, by event."""

    def __init__(self):
        self.was_held = {}

    def retried(self, model, deployment, error):
        self.was_held.setdefault(f"retried: {error.cause}", set()).add(is_lock_held())

    def hedged(self, model, deployment):
        self.was_held.setdefault("hedged", set()).add(is_lock_held())


def slow_after(seconds):
    """Be as slow as that for the requests that follow fifty others."""
    return lambda world, call: (seconds if call.items[0].startswith("m 30") else 0.05, None)


@pytest.mark.parametrize(
    ("member", "hedge", "event"),
    [
        (failing(1.0), False, "retried: unavailable"),
        (slow_after(30.0), False, "retried: timeout"),
        (slow_after(2.0), True, "hedged"),
    ],
)
def test_observers_are_called_under_no_lock(member, hedge, event):
    observer = Observer()
    with simulated({"a": member, "b": good()}, TIERS, hedge=hedge) as run:
        run.dispatcher._events = observer
        load(run, 50, 0.1)
        load(run, 1, 0.0, after=30)
        run.world.run()
    assert observer.was_held[event] == {False}
