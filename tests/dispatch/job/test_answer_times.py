"""Attempts and times that a caller is told are those of the calls made for its request."""

from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.job.answer import CallTimes
from tests.dispatch.members import between, good
from tests.dispatch.parts import T, attempt, deployment
from tests.dispatch.simulator import simulated

ONE = {"m": [{"provider": "a"}]}


def calls_for(run, asked):
    """Count the calls that held the first item of a request."""
    return sum(asked.request.items[0] in call.items for call in run.calls())


def test_request_that_only_waited_in_a_queue_made_no_call():
    with simulated({"a": good(5)}, ONE, concurrency=1, merge=False) as run:
        run.ask("m", ["x"])
        queued = run.ask("m", ["y"], after=0.1, timeout=2)
        run.to_the_end()
    assert queued.code == "timeout"
    assert queued.error.attempts == calls_for(run, queued) == 0


def test_hedge_that_was_only_queued_is_no_attempt():
    models = {"m": [{"provider": "a"}, {"provider": "b", "tier": 1}], "n": [{"provider": "b"}]}
    with simulated(
        {"a": good(0.2), "b": good(3)},
        models,
        hedge=True,
        providers={"b": {"concurrency": 1}},
        merge=False,
    ) as run:
        for i in range(30):
            run.ask("m", [f"learn {i}"], after=i * 0.3)
        run.ask("n", ["busy"], after=9.9)
        run.members["a"].behaviour = between(1010, 1010.5, good(0.6), good(0.2))
        hedged = [run.ask("m", [f"text {i}"], after=10.1 + i * 0.01) for i in range(3)]
        run.to_the_end()
    assert [one.outcome.attempts for one in hedged] == [1, 1, 1]
    assert [calls_for(run, one) for one in hedged] == [1, 1, 1]


def test_call_in_flight_at_the_deadline_is_an_attempt():
    with simulated({"a": good(5)}, ONE) as run:
        asked = run.ask("m", ["x"], timeout=2)
        run.to_the_end()
    assert (asked.code, asked.error.attempts) == ("timeout", 1)


def test_upstream_time_is_that_of_calls_and_the_rest_is_queue():
    with simulated({"a": good(1)}, ONE, concurrency=1, merge=False) as run:
        asked = [run.ask("m", [str(i)]) for i in range(4)]
        run.to_the_end()
    for one in asked:
        assert 0.7 < one.outcome.upstream_seconds < 1.3
        took = one.heard - one.at
        waited = one.outcome.queue_seconds + one.outcome.upstream_seconds
        assert took - 0.1 < waited < took + 1e-6
    assert max(one.outcome.queue_seconds for one in asked) > 2


def test_waiter_of_another_load_is_told_its_times():
    """Its text is published before the load has ended."""
    small = {"m": [{"provider": "a", "max_inputs": 1}]}
    with simulated({"a": good(1)}, small, concurrency=1, merge=False, caching=True) as run:
        run.ask("m", [str(i) for i in range(3)])
        waiting = run.ask("m", ["0"], after=0.1)
        run.to_the_end()
    assert waiting.heard < waiting.at + 1.5
    assert 0.7 < waiting.outcome.upstream_seconds < 1.3
    assert waiting.outcome.attempts == 0


seconds = st.integers(0, 50)


@given(st.lists(st.tuples(seconds, seconds), min_size=1, max_size=20))
def test_times_of_calls_side_by_side_count_once(spans):
    """As a count of the whole seconds in which a call was in flight; results come in order."""
    times = CallTimes()
    times.first_queued_at = T
    busy, a = set(), deployment("a")
    spans = sorted(((T + start, T + start + took) for start, took in spans), key=lambda s: s[1])
    for started_at, ended_at in spans:
        call = attempt(a)
        call.call_started_at = started_at
        times.add_time([attempt(a), call], ended_at)
        times.count(call)
        busy.update(range(int(started_at), int(ended_at)))
    assert times.upstream_seconds == len(busy)
    assert times.queue_seconds == spans[-1][1] - T - len(busy)
    assert times.calls == len(spans)


def test_attempts_without_a_call_take_no_time():
    times = CallTimes()
    times.add_time([attempt(deployment("a"))], T)
    times.count(attempt(deployment("a")))
    assert (times.calls, times.upstream_seconds, times.queue_seconds) == (0, 0.0, 0.0)
