"""Workers side by side count what one would, and what ended ones have left stays."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import BadRequest, Overloaded
from app.limits.periods import Calendar
from app.observability.live import reloads
from app.observability.live.counted import Counted, merge_marks
from app.observability.live.figures import Mark
from app.observability.live.observer import Live
from app.observability.live.summary import summarize
from tests.observability.live.conftest import DEPLOYMENT, Clock, FixedPrices, T, exchange, finish

#: Seconds of wait before it, the worker, and the kind of an event.
EVENTS = st.lists(
    st.tuples(
        st.floats(0, 900),
        st.integers(0, 2),
        st.sampled_from(("served", "cached", "refused", "busy", "call", "failed", "ejected")),
    ),
    max_size=30,
)


def make(clock, directory=None):
    return Live(FixedPrices(), Calendar("day"), directory, clock)


def happen(live, kind):
    match kind:
        case "served":
            finish(live, exchange(tokens=7), 200)
        case "cached":
            finish(live, exchange(tokens=7, cached=7), 200)
        case "refused":
            finish(live, exchange(error=BadRequest("no")), 400)
        case "busy":
            finish(live, exchange(error=Overloaded("busy")), 429)
        case "call":
            live.figures.answered("m", DEPLOYMENT, None, 0.25)
        case "failed":
            live.figures.failed("m", DEPLOYMENT, None, 0.25)
        case "ejected":
            live.figures.ejected("m", DEPLOYMENT)


def without_latencies(told):
    """Return figures without what depends on the clock of the machine."""
    for part in (told["figures"], told["series"]):
        for name in ("p50_ms", "p95_ms", "p99_ms"):
            part.pop(name)
    return told


def sent(live, since=0.0):
    """Return what a worker tells others, as it arrives."""
    live.fold()
    return Counted.from_json(orjson.loads(orjson.dumps(live._counted(since).to_json())))


@settings(deadline=None, max_examples=15)
@given(EVENTS)
def test_workers_together_are_as_one(events):
    clock = Clock()
    alone, workers = make(clock), [make(clock) for _ in range(3)]
    for wait, worker, kind in events:
        clock.now += wait
        for live in (alone, workers[worker]):
            happen(live, kind)
            live.sample()
    together = summarize([sent(live) for live in workers], 0, clock.now)
    assert without_latencies(together) == without_latencies(summarize([sent(alone)], 0, clock.now))


@settings(deadline=None, max_examples=15)
@given(EVENTS, st.floats(0, 4000))
def test_ended_workers_leave_what_they_have_counted(tmp_path_factory, events, idle):
    directory, clock = tmp_path_factory.mktemp("d"), Clock()
    alone, workers = make(clock), [make(clock, directory) for _ in range(3)]
    for wait, worker, kind in events:
        clock.now += wait
        for live in (alone, workers[worker]):
            happen(live, kind)
            live.sample()
    for live in workers:
        live.stop()
    clock.now += idle
    (last,) = [make(clock, directory)]
    assert without_latencies(last.now(0.0)) == without_latencies(alone.now(0.0))


def test_ended_workers_leave_their_requests(tmp_path, clock):
    for number in range(3):
        ended = make(clock, tmp_path)
        finish(ended, exchange("r", key=f"key {number}"), 200)
        ended.stop()
        clock.now += 1
    live = make(clock, tmp_path)
    assert [request["key"] for request in live.find("r", None)["data"]] == [
        "key 2",
        "key 1",
        "key 0",
    ]
    assert [request["key"] for request in live.find("r", "key 1")["data"]] == ["key 1"]
    assert live.find("r", "another")["data"] == []


def test_damaged_files_are_left_out(tmp_path, live, clock):
    (tmp_path / "live-figures.json").write_bytes(b"{")
    (tmp_path / "live-requests.json").write_bytes(b"{")
    live = make(clock, tmp_path)
    assert live.now(0.0)["figures"]["requests_hour"] == 0
    assert live.find("r", None)["data"] == []
    finish(live, exchange("r"), 200)
    live.stop()
    assert make(clock, tmp_path).now(0.0)["figures"]["requests_hour"] == 1


def test_directory_that_is_gone_does_not_fail_the_end(tmp_path, clock):
    directory = tmp_path / "gone"
    make(clock, directory).stop()


@pytest.mark.parametrize("kind", ["served", "call"])
def test_busy_second_is_bounded(live, kind):
    for _ in range(12_000):
        happen(live, kind)
    figures = live.figures
    assert len(live._pending) <= 100
    assert len(figures._ended) <= 101
    live.fold()
    assert figures.totals()["requests" if kind == "served" else "calls", *_rest(kind)] == 12_000


def _rest(kind):
    return ("m", *DEPLOYMENT.source) if kind == "call" else ()


def test_money_of_yesterday_is_not_of_today(live, clock):
    finish(live, exchange(tokens=7), 200)
    assert live.now(0.0)["figures"]["spent_today_dollars"] == 7e-9
    clock.now += 24 * 3600
    assert live.now(0.0)["figures"]["spent_today_dollars"] == 0
    finish(live, exchange(tokens=5), 200)
    assert live.now(0.0)["figures"]["spent_today_dollars"] == 5e-9


def test_request_of_yesterday_that_is_added_late_changes_no_money_of_today(live, clock):
    midnight = Calendar("day").span(T).end
    clock.now = midnight + 1
    finish(live, exchange(tokens=7), 200)
    live.fold()
    clock.now = midnight - 1
    finish(live, exchange(tokens=5), 200)
    clock.now = midnight + 2
    assert live.now(0.0)["figures"]["spent_today_dollars"] == 7e-9


def test_money_is_of_the_right_day_after_the_clock_was_set_back(live, clock):
    clock.now = T + 2 * 24 * 3600
    finish(live, exchange(tokens=7), 200)
    live.fold()
    clock.now = T
    assert live.now(0.0)["figures"]["spent_today_dollars"] == 0
    finish(live, exchange(tokens=5), 200)
    assert live.now(0.0)["figures"]["spent_today_dollars"] == 5e-9


@pytest.mark.parametrize(
    ("method", "route"), [("GET", "api.models"), ("OPTIONS", "api.embeddings")]
)
def test_other_requests_than_those_for_embeddings_are_not_counted(live, method, route):
    other = exchange()
    other.method, other.route = method, route
    finish(live, other, 200)
    assert live.now(0.0)["figures"]["requests_hour"] == 0
    assert live.requests.all() == []


def test_ejections_seen_by_several_workers_are_one_mark():
    first, second = Mark(T, "ejected", "m", "p", "d"), Mark(T + 3, "ejected", "m", "p", "d")
    later, other = Mark(T + 60, "ejected", "m", "p", "d"), Mark(T + 1, "ejected", "m", "q", "d")
    assert merge_marks([[second, later], [first, other]]) == [first, other, later]


def test_reload_is_a_mark_of_the_workers_after_it(monkeypatch, clock):
    monkeypatch.delenv(reloads.VARIABLE, raising=False)
    assert make(clock).now(0.0)["marks"] == []
    monkeypatch.setenv(reloads.VARIABLE, "")
    reloads.record(T - 5)
    (mark,) = make(clock).now(0.0)["marks"]
    assert (mark["kind"], mark["at"]) == ("reloaded", T - 5)
