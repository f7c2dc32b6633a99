"""A bug ends a request for all its callers, and leaves no state."""

import logging
from operator import attrgetter

import pytest

from app.errors import InternalError
from tests.dispatch.asking import Asking
from tests.dispatch.parts import T, deployment


@pytest.mark.parametrize("when", ["at a result", "when it is published"])
def test_unexpected_exception_ends_the_request_and_leaves_no_state(when, monkeypatch):
    asking = Asking()

    def fails(*_):
        raise ZeroDivisionError("a bug")

    if when == "at a result":
        monkeypatch.setattr(asking.job._state, "_accept", fails)
    else:
        monkeypatch.setattr(asking.job, "_on_part", fails)
    asking.job.advance(T)
    (one,) = asking.take()
    asking.answer(one, T + 1)
    assert asking.job.is_settled
    assert asking.wakes
    with pytest.raises((ZeroDivisionError, InternalError)):
        asking.job.outcome()
    asking.assert_nothing_left()


def test_bug_as_parts_start_ends_the_request_for_all_its_callers(monkeypatch):
    asking = Asking(deployment("a", max_inputs=1, provider={"merge": False}), size=3)
    asking.job.advance(T)
    asking.take()
    monkeypatch.setattr(asking.job._state._starter, "handle_slow_calls", lambda _: 1 / 0)
    wakes = asking.wakes
    assert asking.job.advance(T + 1) == float("inf")
    assert asking.job.is_settled
    assert asking.wakes > wakes
    with pytest.raises(InternalError):
        asking.job.outcome()


@pytest.mark.parametrize("at", ["_accept", "_parts.keep_only"])
def test_bug_is_logged_after_the_lock_of_the_job_is_released(at, monkeypatch):
    asking, held = Asking(), []

    class Handler(logging.Handler):
        def emit(self, record):
            held.append(asking.job._lock.locked())

    monkeypatch.setattr(logging.getLogger("app.dispatch"), "handlers", [Handler()])
    owner, _, name = f"_state.{at}".rpartition(".")
    monkeypatch.setattr(attrgetter(owner)(asking.job), name, lambda *_: 1 / 0)
    asking.job.advance(T)
    (one,) = asking.take()
    if at == "_accept":
        asking.answer(one, T + 1)
    else:
        asking.job.keep_only([0], T + 1)
    assert held == [False]
    assert isinstance(asking.job.error, InternalError)
