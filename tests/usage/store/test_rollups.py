"""Rollups have the sums of the rows, and reports read both alike."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.database.columns import COLUMNS
from app.database.engine import Refused
from app.limits.periods import zone_of
from app.usage.reports.report import readable
from app.usage.store import queries
from app.usage.store.queries import MEASURES
from app.usage.store.store import DAY_MS, HOUR_MS, ReportQuery, Store, VolumeLimits
from tests.usage.conftest import row
from tests.usage.store.sums import sums

ALL = (0, 10**15)


def test_insert_updates_the_rollups(store, database):
    store.insert([row(1), row(2, user="u"), row(3, status=503)])
    store.insert([row(3, status=503), row(4), row(5, time=HOUR_MS)])  # 3 is there already
    assert sums(database) == [(0, 1, 16, 5), (0, 3, 48, 15), (HOUR_MS, 1, 16, 5)]
    users = [(0, 1, 16, 5), (0, 1, 16, 5), (0, 2, 32, 10), (HOUR_MS, 1, 16, 5)]
    assert sums(database, "usage_user_hours") == users


def test_refused_rows_are_in_no_rollup(store, database):
    with pytest.raises(Refused):
        store.insert([row(1), row(2, key=None)])
    assert sums(database) == []
    store.insert_each([row(1), row(2, key=None), row(3)])
    assert sums(database) == [(0, 2, 32, 10)]


def test_purge_deletes_rollups_too(store, database):
    store.insert([row(n, time=n * DAY_MS) for n in range(10)])
    store.purge(7 * DAY_MS)
    assert [hour for hour, *_ in sums(database)] == [n * DAY_MS for n in (7, 8, 9)]
    assert len(sums(database, "usage_user_hours")) == 3
    assert len(sums(database, "usage_tier_hours")) == 3


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "time": st.integers(0, 100 * HOUR_MS),
            "user": st.sampled_from(["", "u"]),
            "service_tier": st.sampled_from(["default", "flex"]),
            "status": st.sampled_from([200, 401, 404, 503]),
            "cost": st.integers(0, 9),
        }
    ),
    max_size=30,
)


TIMES = st.integers(0, 100 * HOUR_MS)


ZONES = st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns"])


GROUPS = [
    *([], ["day"], ["day", "user"], ["status"], ["user", "key"], ["day", "service_tier"]),
    ["user", "service_tier"],
    *(["hour"], ["hour", "user"], ["day", "hour"]),
]


@pytest.mark.no_cover  # see `tests.support.ordering`
@pytest.mark.parametrize("by", GROUPS, ids=",".join)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ROWS, TIMES, TIMES, ZONES)
def test_report_equals_the_sum_of_its_rows(sqlite, by, rows, since, until, zone):
    """Around the last Sunday of March 2026, when Europe's clocks are put forward."""
    start = int(datetime(2026, 3, 27, tzinfo=UTC).timestamp() * 1000)
    rows = [row(n, **(r | {"time": start + r["time"]})) for n, r in enumerate(rows)]
    since, until = start + min(since, until), start + max(since, until)
    database = sqlite
    Store(database).purge(10**15)
    Store(database).insert(rows)
    query = ReportQuery(by, since, until, zone=zone_of(zone), unusual=VolumeLimits(requests=1))
    found = Store(database).report(query)
    expected, of_hours = Counter(), Counter()
    for values in (dict(zip(COLUMNS, r, strict=True)) for r in rows):
        if since <= values["time"] < until:
            local = datetime.fromtimestamp(values["time"] / 1000, zone_of(zone)).date()
            hour = values["time"] - values["time"] % HOUR_MS
            times = {"day": local.isoformat(), "hour": hour}
            group = tuple((values | times)[name] for name in by)
            expected[group, "requests"] += 1
            expected[group, "cost"] += values["cost"]
            expected[group, "failed"] += values["status"] >= 500
            expected[group, "refused"] += values["status"] == 401
            expected[group, "invalid"] += values["status"] == 404
            of_hours[group, values["time"] // HOUR_MS] += 1
    for (group, _), number in of_hours.items():
        expected[group, "unusual_hours"] += number > 1
    shown = Counter()
    for group in found:
        if "day" in by:
            group = readable_day(group)
        name = tuple(group[name] for name in by)
        for measure in ("requests", "cost", "failed", "refused", "invalid", "unusual_hours"):
            shown[name, measure] += group[measure]
    assert +shown == +expected


ONLY = [{}, {"user": ["u"]}, {"status": [200, 404], "user": ["", "u"]}, {"service_tier": ["flex"]}]


@pytest.mark.no_cover  # see `tests.support.ordering`
@pytest.mark.parametrize("only", ONLY, ids=str)
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ROWS, TIMES, TIMES)
def test_report_of_some_values_has_only_their_rows(sqlite, only, rows, since, until):
    rows = [row(n, **r) for n, r in enumerate(rows)]
    since, until = min(since, until), max(since, until)
    store = Store(sqlite)
    store.purge(10**15)
    store.insert(rows)
    expected = Counter()
    for values in (dict(zip(COLUMNS, r, strict=True)) for r in rows):
        is_in = all(values[name] in given for name, given in only.items())
        if since <= values["time"] < until and is_in:
            expected[values["key"], values["status"]] += 1
    found = store.report(ReportQuery(["key", "status"], since, until, only=only))
    assert Counter({(r["key"], r["status"]): r["requests"] for r in found}) == expected


@pytest.mark.parametrize("name", [*MEASURES, "user", "hour", "unusual_hours"])
def test_groups_are_in_the_order_asked_for(store, name):
    rows = [
        row(n, user=f"u{n % 3}", time=n % 4 * HOUR_MS, status=(200, 401, 404, 503)[n % 4], ms=n * n)
        for n in range(12)
    ]
    store.insert(rows)
    query = ReportQuery(["user", "hour"], *ALL, unusual=VolumeLimits(requests=0), order=name)
    found = store.report(query)
    values = [readable(r).get(name, r.get(name)) for r in found]
    assert values == sorted(values, reverse=True)
    assert len(found) == 12
    assert len(set(values)) > 1 or name not in ("mean_ms", "user", "hour", "failed")
    ascending = store.report(replace(query, is_ascending=True))
    assert [readable(r).get(name, r.get(name)) for r in ascending] == values[::-1]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kolkata"])
def test_a_report_of_a_century_looks_for_changes_of_the_clock_only_where_rows_are(
    store, monkeypatch, zone
):
    start = int(datetime(2026, 3, 27, tzinfo=UTC).timestamp() * 1000)
    store.insert([row(1, time=start + 5), row(2, time=start + 2 * DAY_MS + 5)])
    real, calls = queries.offsets_of, []
    monkeypatch.setattr(queries, "offsets_of", lambda *args: calls.append(args) or real(*args))
    century = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp() * 1000) + 5, 4_102_444_800_000 - 7
    unusual = VolumeLimits(requests=10)
    found = store.report(ReportQuery(["day"], *century, zone=zone_of(zone), unusual=unusual))
    assert sorted(readable(r)["day"] for r in found) == ["2026-03-27", "2026-03-29"]
    assert calls == [(zone_of(zone), start, start + 2 * DAY_MS + HOUR_MS)]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_a_report_of_a_time_without_rows_is_empty(store, zone):
    query = ReportQuery(["day"], 5, DAY_MS * 9 + 7, zone=zone_of(zone))
    assert store.report(query) == []
    for time in (DAY_MS * 20, 3):
        store.purge(10**15)
        store.insert([row(1, time=time)])
        assert store.report(query) == []


def readable_day(group):
    return group | {"day": readable(group)["day"]}
