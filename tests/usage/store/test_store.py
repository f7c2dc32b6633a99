"""Queries of the ledger give the same results in SQLite and PostgreSQL."""

import pytest

from app.database.engine import Refused
from app.usage.store.store import DAY_MS, HOUR_MS, ReportQuery, VolumeLimits, purge_before
from tests.usage.conftest import row
from tests.usage.store.sums import count

ALL = (0, 10**15)


def test_the_same_row_counts_once(store, database):
    store.insert([row(1), row(2)])
    store.insert([row(2, cost=99), row(3), row(1, writer="other")])
    assert count(database) == 4
    (sums,) = store.report(ReportQuery([], *ALL))
    assert sums["requests"] == 4
    assert sums["cost"] == 4 * 16


def test_report_sums_up_by_dimension(store):
    store.insert(
        [
            row(1, user="a"),
            row(2, user="a", status=429),
            row(3, user="b", status=400),
            row(4, user="b", status=503, time=DAY_MS + 5),
            row(5, key="other", status=401),
        ]
    )
    usual = {"items": 1, "prompt_tokens": 10, "billed_tokens": 8, "cached_tokens": 2}
    first, *rest = store.report(ReportQuery(["key", "user"], *ALL))
    assert (first["key"], first["user"]) == ("team", "a")
    assert first.items() >= {n: 2 * v for n, v in usual.items()}.items()
    assert first.items() >= {"requests": 2, "refused": 1, "invalid": 0, "failed": 0}.items()
    assert [(r["key"], r["user"], r["requests"]) for r in rest] == [
        ("team", "b", 2),
        ("other", "", 1),
    ]
    assert (rest[0]["invalid"], rest[0]["failed"]) == (1, 1)
    assert all(type(name) is str for name in first)
    assert [(r["day"], r["requests"]) for r in store.report(ReportQuery(["day"], *ALL))] == [
        (0, 4),
        (DAY_MS, 1),
    ]
    assert [r["status"] for r in store.report(ReportQuery(["status"], *ALL), max_groups=2)] == [
        200,
        400,
    ]
    assert len(store.report(ReportQuery(["key"], *ALL, key="team"))) == 1
    assert store.report(ReportQuery(["key"], 0, 5)) == []


def test_report_of_empty_ledger_has_no_rows(store):
    assert store.report(ReportQuery(["key"], *ALL)) == []
    assert store.report(ReportQuery([], *ALL)) == []


def test_unusual_hours_are_counted_by_group(store):
    store.insert(
        [row(n, time=HOUR_MS * (n // 4)) for n in range(9)]  # 4, 4 and 1 in an hour
        + [row(20, key="big", prompt_tokens=1000), row(21, key="small")]
    )

    def hours(unusual):
        found = store.report(ReportQuery(["key"], *ALL, unusual=unusual))
        return {r["key"]: (r["unusual_hours"], r["requests"]) for r in found}

    assert hours(VolumeLimits(requests=3)) == {"team": (2, 9), "big": (0, 1), "small": (0, 1)}
    assert hours(VolumeLimits(tokens=100)) == {"team": (0, 9), "big": (1, 1), "small": (0, 1)}
    assert hours(VolumeLimits(3, 100))["big"] == (1, 1)
    assert (
        store.report(ReportQuery(["day"], *ALL, unusual=VolumeLimits(3)))[0]["unusual_hours"] == 2
    )
    assert (
        "unusual_hours" not in store.report(ReportQuery(["key"], *ALL, unusual=VolumeLimits()))[0]
    )


def test_unusual_lists_keys_and_users_separately(store):
    store.insert([row(n, user="loud" if n < 6 else "calm") for n in range(8)])
    store.insert([row(n, user=f"u{n}", key="", status=401) for n in range(20, 40)])
    found = store.unusual(0, VolumeLimits(requests=5))
    assert [(r["key"], r["user"], r["requests"]) for r in found] == [
        ("team", "", 8),
        ("team", "loud", 6),
    ]
    assert found[1]["prompt_tokens"] == 60
    assert store.unusual(10**9, VolumeLimits(requests=5)) == []


def test_purge_deletes_in_batches(store, database, monkeypatch):
    monkeypatch.setattr("app.usage.store.store.MAX_ROWS_PER_DELETE", 3)
    store.insert([row(n, time=n) for n in range(10)])
    assert store.purge(7) == 7
    assert store.purge(7) == 0
    assert count(database) == 3


def test_rows_are_kept_for_whole_days():
    assert purge_before(2 * DAY_MS, newest=10.5 * DAY_MS) == 8 * DAY_MS


def test_purge_with_clock_ahead_deletes_nothing(store, database):
    """Also not after it has written rows on two of its days."""
    now, wrong = 1000 * DAY_MS, 1401 * DAY_MS
    store.insert([row(n, time=now - n * DAY_MS) for n in range(5)])
    store.insert([row(n, time=wrong + n * DAY_MS, writer="ahead") for n in range(2)])
    assert store.purge_older(400 * DAY_MS, wrong) == 0
    assert count(database) == 7
    # Two days behind, because the three newest days decide; older rows are deleted.
    assert store.purge_older(2 * DAY_MS, wrong) == 2
    assert count(database) == 5


def test_purge_ignores_rows_in_the_future(store, database):
    store.insert([row(n, time=n * DAY_MS) for n in range(10)])
    assert store.purge_older(2 * DAY_MS, 5 * DAY_MS) == 3
    assert count(database) == 7


def test_purge_of_two_days_of_rows_deletes_nothing(store):
    store.insert([row(1, time=5), row(2, time=900 * DAY_MS)])
    assert store.purge_older(DAY_MS, 900 * DAY_MS) == 0


@pytest.mark.parametrize("odd", [{"key": None}, {"cost": 2**63}, {"user": "\ud800"}])
def test_only_invalid_row_is_refused(store, database, odd):
    with pytest.raises(Refused):
        store.insert([row(1), row(2, **odd)])
    assert count(database) == 0
    ((refused, why),) = store.insert_each([row(1), row(2, **odd), row(3)])
    assert refused == row(2, **odd)
    assert why
    assert count(database) == 2
