"""Bars over time: heights in proportion, within the picture, and what the page makes of reports."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict

from app.console.use import figures as use_figures
from app.console.use.bars import HEIGHT, MAX_LABELS, make_bars, top_of
from app.console.use.figures import MAX_SERIES, figures_of
from app.console.use.query import read
from app.domain import Caller
from app.usage.store.store import HOUR_MS, Store, VolumeLimits
from tests.usage.conftest import row
from tests.usage.conftest import sqlite as sqlite

#: One part of a bar: where it is, its height upwards, its width, and back.
_PART = r"M([\d.]+) ([\d.]+)v(-[\d.]+)h([\d.]+)v([\d.]+)z"
AMOUNTS = st.one_of(st.just(0), st.integers(0, 10**12), st.floats(0, 1e-3))
SERIES = st.integers(1, 40).flatmap(
    lambda n: st.lists(st.lists(AMOUNTS, min_size=n, max_size=n), min_size=1, max_size=6)
)


@given(SERIES)
def test_bars_are_in_proportion_and_within_the_picture(series):
    number = len(series[0])
    bars = make_bars(["t"] * number, ["title"] * number, series, str)
    sums = [sum(values) for values in zip(*series, strict=True)]
    top = top_of(max(sums))
    assert len(bars.titles) == number
    drawn = [[0.0, HEIGHT] for _ in range(number)]  # the height of each bar, and its highest point
    for path in bars.paths:
        for x, y, up, width, down in re.findall(_PART, path):
            part = drawn[int(float(x))]
            assert float(x) % 1 + float(width) < 1
            assert (float(y), -float(up)) == (pytest.approx(part[1], abs=0.1), float(down))
            part[0] += float(down)
            part[1] = float(y) - float(down)
    for (height, highest), total in zip(drawn, sums, strict=True):
        error = 0.02 * len(series)
        assert height == pytest.approx(total / top * HEIGHT, abs=error)
        assert -error <= highest <= HEIGHT
    assert 0 < len(bars.labels) <= MAX_LABELS


@given(st.floats(1e-9, 1e18))
def test_highest_line_is_a_round_number_above(value):
    top = top_of(value)
    assert value * (1 - 1e-6) <= top <= value * 2.6
    assert top_of(0) == 1


USERS = st.sampled_from(["", *(f"u{n}" for n in range(8))])
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "time": st.integers(0, 200),
            "user": USERS,
            "cost": st.integers(0, 5 * 10**9),
            "status": st.sampled_from([200, 503]),
        }
    ),
    max_size=40,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    ROWS,
    st.sampled_from(["24h", "3d", "7d", "90d", "2026-03-28"]),
    st.sampled_from(["requests", "cost", "failed"]),
    st.sampled_from(["user", "model", "day", "hour"]),
    st.sampled_from(["", "user", "day"]),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata"]),
)
def test_bars_and_groups_add_up_to_the_totals(sqlite, rows, since, measure, by, then, zone):
    """Around the last Sunday of March 2026, when Europe's clocks are put forward."""
    now = datetime(2026, 3, 30, 12, 34, 56, tzinfo=UTC)
    start = int((now - timedelta(hours=150)).timestamp() * 1000)
    store = Store(sqlite)
    store.purge(10**15)
    store.insert(
        [row(n, **(r | {"time": start + r["time"] * HOUR_MS})) for n, r in enumerate(rows)]
    )
    given = MultiDict(
        {"since": since, "measure": measure, "by": by, "then": then, "timezone": zone}
    )
    asked = read(given, Caller("root", admin=True), "UTC", False, now.timestamp())
    reports = []
    figures = figures_of(lambda q: reports.append(q) or store.report(q), asked, VolumeLimits())
    assert len(reports) <= 3
    first = int(asked.since.timestamp() * 1000)
    shown = [r for r in rows if first <= start + r["time"] * HOUR_MS <= now.timestamp() * 1000]
    if not shown:
        assert figures.totals is None
        return
    totals = {
        "requests": len(shown),
        "cost": sum(r["cost"] for r in shown) / 1e9,
        "failed": sum(r["status"] == 503 for r in shown),
    }
    in_bars = sum(sum(one.values) for one in figures.series)
    in_table = sum(group[measure] for group in figures.groups)
    for found in (figures.totals[measure], in_bars, in_table):
        assert found == pytest.approx(totals[measure])
    assert len(figures.series) <= MAX_SERIES + 1
    assert {len(one.values) for one in figures.series} == {len(figures.buckets)}
    assert list(figures.buckets) == sorted(set(figures.buckets))


def test_bars_are_right_where_the_groups_of_the_table_are_cut(sqlite, monkeypatch):
    monkeypatch.setattr(use_figures, "MAX_GROUPS", 3)
    store, now = Store(sqlite), datetime(2026, 3, 30, 12, tzinfo=UTC)
    at = int(now.timestamp() * 1000) - HOUR_MS
    numbers = {"few": 2, "many": 5, "none": 0}
    rows = [(user, f"m{n}") for user, number in numbers.items() for n in range(number)]
    # In the order of the table "one" comes first, but "many" has the most.
    rows += [("one", "m")] * 4
    store.insert([row(n, time=at, user=u, model=m) for n, (u, m) in enumerate(rows)])
    given = MultiDict({"by": "user", "then": "model"})
    asked = read(given, Caller("root", admin=True), "UTC", False, now.timestamp())
    cut = {("user", "model"): 3}
    figures = figures_of(lambda q: store.report(q, cut.get(q.by)), asked, VolumeLimits())
    assert figures.is_cut
    assert [(one.value, sum(one.values)) for one in figures.series] == [
        ("many", 5),
        ("one", 4),
        ("few", 2),
    ]
    assert figures.totals["requests"] == 11
