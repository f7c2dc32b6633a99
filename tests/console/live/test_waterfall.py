"""A waterfall has each step of a request, with bars on one scale of time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.console.live.waterfall import KINDS, REASONS, SCALE, drawn

CALL = {
    "step": "call",
    "from_ms": 10.0,
    "to_ms": 60.0,
    "called_ms": 20.0,
    "reason": "first",
    "items": [0, 4],
    "provider": "p",
    "deployment": "m",
    "result": "vectors",
    "requests": 1,
    "is_probe": False,
}


def own(step, begin, end):
    return {"step": step, "from_ms": begin, "to_ms": end}


def request(*steps, **fields):
    return {"total_ms": 100.0, "items": 4, "cache": "off", "steps": steps, **fields}


def rows(*steps, **fields):
    return drawn(request(*steps, **fields))["rows"]


TIMES = st.floats(0, 1e7)


@given(TIMES, st.lists(st.tuples(TIMES, TIMES, st.one_of(st.none(), TIMES)), max_size=5))
def test_bars_are_on_the_scale_and_can_be_seen(total_ms, times):
    steps = [
        {**CALL, "from_ms": a, "to_ms": max(a, b), "called_ms": c, "reason": "retry"}
        for a, b, c in times
    ]
    made = drawn(request(own("read", 0.0, total_ms), *steps, total_ms=total_ms))
    for row in made["rows"]:
        assert row.segments
        for segment in row.segments:
            assert segment.x >= 0
            assert segment.x + segment.width <= SCALE + 0.2
            assert segment.width > 0
            assert segment.kind in made["kinds"] <= set(KINDS)
        assert 0 <= row.waited_ms <= row.took_ms
    assert made["ticks"][0] == 0
    assert made["ticks"] == sorted(made["ticks"])


def test_call_waits_and_is_in_flight():
    (row,) = rows(CALL)
    assert [tuple(segment) for segment in row.segments] == [
        (100.0, 100.0, "wait"),
        (200.0, 400.0, "good"),
    ]
    assert (row.title, row.from_ms, row.took_ms, row.waited_ms) == ("p / m", 10.0, 50.0, 10.0)
    assert (row.details, row.reason) == (["all 4 texts"], "")


@pytest.mark.parametrize(
    ("result", "kind"),
    [("vectors", "good"), ("abandoned", "abandoned"), ("unavailable", "bad"), ("timeout", "bad")],
)
def test_bar_shows_the_result(result, kind):
    (row,) = rows({**CALL, "result": result})
    assert row.segments[-1].kind == kind


def test_pause_before_a_retry_is_shown():
    failed = {**CALL, "result": "unavailable", "to_ms": 30.0}
    again = {**CALL, "reason": "retry", "from_ms": 50.0, "called_ms": 50.0}
    other = {**CALL, "items": [9, 10], "to_ms": 49.0}
    row = rows(failed, other, again)[-1]
    assert [tuple(segment) for segment in row.segments] == [
        (300.0, 200.0, "pause"),
        (500.0, 100.0, "good"),
    ]
    assert (row.from_ms, row.took_ms) == (50.0, 10.0)


def test_call_that_was_never_sent_has_only_waited():
    (row,) = rows({**CALL, "called_ms": None, "result": "not_sent"})
    assert [segment.kind for segment in row.segments] == ["wait"]
    assert "not sent" in row.details


@pytest.mark.parametrize(
    ("items", "fields", "text"),
    [
        ([0, 1], {"items": 1}, "1 text"),
        ([0, 2], {}, "texts 1 to 2 of 4"),
        ([3, 4], {}, "1 of 4 texts"),
        ([0, 2], {"cache": "partial"}, "2 of 4 texts"),
        ([0, 4000], {"items": 8000}, "texts 1 to 4,000 of 8,000"),
    ],
)
def test_texts_of_a_call(items, fields, text):
    (row,) = rows({**CALL, "items": items}, **fields)
    assert row.details == [text]


@pytest.mark.parametrize("reason", [*REASONS])
def test_reason_of_a_further_call(reason):
    (row,) = rows({**CALL, "reason": reason, "requests": 3, "is_probe": True})
    assert row.reason == reason
    assert row.details[1:] == ["in one call with 2 more", "a probe of the ejected deployment"]


def test_each_step_of_the_proxy_has_a_title():
    names = ("read", "plan", "lookup", "joined", "answer")
    made = rows(*(own(name, n, n + 1) for n, name in enumerate(names)))
    assert len({row.title for row in made}) == len(names)
    assert [row.segments[0].kind for row in made] == ["own", "own", "own", "wait", "own"]
