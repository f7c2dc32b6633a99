"""`PeriodicTask`: schedule, exceptions, what runs at a stop."""

import itertools
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.concurrency.periodic import MIN_PAUSE_S, PeriodicTask


class Timeline:
    """A clock that waits advance. After ``end`` seconds it stops the task."""

    def __init__(self, end):
        self.now = 0.0
        self.end = end
        self.task = None

    def clock(self):
        return self.now

    def wait(self, event, seconds):
        if event.is_set():
            return True
        self.now += seconds
        if self.now > self.end:
            self.task.stop()
        return event.is_set()


def run(function, interval_s, end, **options):
    """Run a task until the timeline ends; return the task and the times of its runs."""
    line, times = Timeline(end), []

    def timed():
        times.append(line.now)
        return function(line)

    line.task = PeriodicTask("test", timed, interval_s, clock=line.clock, wait=line.wait, **options)
    line.task.run_until_stopped()
    return line.task, times


# When it runs


def test_runs_at_once_and_then_every_interval():
    _, times = run(lambda line: None, 2, end=7)
    assert times == [0, 2, 4, 6]


def test_first_run_can_come_later():
    _, times = run(lambda line: None, 2, end=6, first_after_s=1)
    assert times == [1, 3, 5]


def test_time_of_a_run_is_part_of_its_interval():
    def takes_half_a_second(line):
        line.now += 0.5

    _, times = run(takes_half_a_second, 2, end=5)
    assert times == [0, 2, 4]


def test_a_run_longer_than_its_interval_delays_the_next():
    def takes_three_seconds(line):
        line.now += 3

    _, times = run(takes_three_seconds, 2, end=8)
    assert times == pytest.approx([0, 3 + MIN_PAUSE_S, 6 + 2 * MIN_PAUSE_S])


def test_run_can_choose_the_next_pause():
    pauses = iter([5, 1, None, 0])
    _, times = run(lambda line: next(pauses, None), 2, end=10)
    assert times == pytest.approx([0, 5, 6, 8, 8 + MIN_PAUSE_S])


@given(st.floats(0.01, 100), st.floats(0, 0.99), st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_jitter_only_shortens_pauses_and_by_no_more_than_its_share(interval_s, jitter, dice):
    rolls = iter(dice)
    _, times = run(
        lambda line: None,
        interval_s,
        end=3 * interval_s,
        jitter=jitter,
        rng=lambda: next(rolls, 0.0),
    )
    for before, after in itertools.pairwise(times):
        least = max(interval_s * (1 - jitter), MIN_PAUSE_S)
        assert least * (1 - 1e-6) <= after - before
        assert after - before <= max(interval_s, MIN_PAUSE_S) * (1 + 1e-6)


@given(st.lists(st.sampled_from(["works", "fails", "slow", "wakes"]), max_size=30))
def test_runs_are_at_least_the_minimum_pause_apart_unless_woken(events):
    line = Timeline(end=100)
    times, happened = [], []
    steps = iter(events)

    def step():
        now, what = line.now, next(steps, "works")
        times.append(now)
        happened.append(what)
        if what == "fails":
            raise RuntimeError("expected")
        if what == "slow":
            line.now += 3
        if what == "wakes":
            line.task.wake()

    line.task = PeriodicTask("test", step, 2, clock=line.clock, wait=line.wait)
    logging.disable(logging.CRITICAL)
    try:
        line.task.run_until_stopped()
    finally:
        logging.disable(logging.NOTSET)
    assert line.task.runs == len(times)
    assert line.task.failures == happened.count("fails")
    for what, before, after in zip(happened, times, times[1:], strict=False):
        assert after - before == pytest.approx({"wakes": 0, "slow": 3 + MIN_PAUSE_S}.get(what, 2))


# Exceptions and stop


def test_exceptions_are_counted_and_logged_once_an_episode(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("app"), "propagate", True)
    outcomes = iter([OSError("first"), OSError("second"), None, OSError("third")])

    def step(line):
        error = next(outcomes, None)
        if error is not None:
            raise error

    task, times = run(step, 1, end=5)
    assert (len(times), task.runs, task.failures, task.failures_in_a_row) == (6, 6, 3, 0)
    texts = [record.getMessage() for record in caplog.records]
    assert texts == [
        "test failed; it goes on",
        "test works again after 2 failures",
        "test failed; it goes on",
        "test works again after 1 failures",
    ]
    assert "first" in caplog.text
    assert "second" not in caplog.text


def test_at_stop_runs_last_and_may_fail():
    done = []

    def last():
        done.append("last")
        raise RuntimeError("expected")

    task, _ = run(lambda line: done.append("run"), 1, end=1.5, at_stop=last)
    assert done == ["run", "run", "last"]
    assert task.failures == 1


def test_a_task_stopped_before_its_first_run_only_runs_at_stop():
    done = []
    task = PeriodicTask("test", lambda: done.append("run"), 1, at_stop=lambda: done.append("last"))
    task.stop()
    task.run_until_stopped()
    assert done == ["last"]


@pytest.mark.parametrize(
    ("interval_s", "jitter", "named"),
    [(0, 0, "interval_s"), (-1, 0, "interval_s"), (1, 1, "jitter")],
)
def test_invalid_times_are_refused(interval_s, jitter, named):
    with pytest.raises(ValueError, match=named):
        PeriodicTask("test", lambda: None, interval_s, jitter=jitter)
