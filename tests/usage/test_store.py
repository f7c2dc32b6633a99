"""Queries of the ledger give the same results in SQLite and PostgreSQL."""

from collections import Counter
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.database.columns import COLUMNS
from app.database.engine import Database, Refused, Unavailable
from app.database.migrations import migrate, newest, version
from app.database.tables import metadata
from app.limits.periods import zone_of
from app.usage import queries
from app.usage.report import readable
from app.usage.rollups import ROLLUPS
from app.usage.store import DAY_MS, HOUR_MS, ReportQuery, Store, VolumeLimits, purge_before
from tests.usage.conftest import row

ALL = (0, 10**15)


def count(database, statement="SELECT count(*) FROM usage_requests"):
    return database.run(lambda c: c.exec_driver_sql(statement).scalar_one())


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
    monkeypatch.setattr("app.usage.store.MAX_ROWS_PER_DELETE", 3)
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


def test_missing_tables_raise_unavailable(url):
    database = Database(url)
    with pytest.raises(Unavailable, match="usage_requests") as caught:
        Store(database).insert([row(1)])
    assert "INSERT" not in str(caught.value)
    database.close()


def test_unreachable_database_raises_unavailable():
    database = Database("postgresql+psycopg://me:sesame@127.0.0.1:1/x")
    with pytest.raises(Unavailable) as caught:
        Store(database).report(ReportQuery([], *ALL))
    assert "sesame" not in str(caught.value)
    database.close()


def test_migrations_create_the_declared_tables(url):
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    database = Database(url)
    assert migrate(database.engine) == (None, newest())
    assert migrate(database.engine) == (newest(), newest())
    with database.engine.connect() as connection:
        assert version(connection) == newest()
        options = {"version_table": "embeddings_proxy_version", "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
    database.close()


def test_migrations_can_be_undone(url):
    from alembic import command

    from app.database.migrations import _config

    database = Database(url)
    migrate(database.engine)
    with database.engine.begin() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert sa.inspect(database.engine).get_table_names() == ["embeddings_proxy_version"]
    database.close()


def test_sqlite_is_in_wal_mode(sqlite):
    assert count(sqlite, "PRAGMA journal_mode") == "wal"


def test_connections_closed_by_a_restart_are_replaced(postgres):
    database = Database(postgres.url())
    migrate(database.engine)
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
    store = Store(database)
    store.insert([row(1)])
    import psycopg

    with psycopg.connect(postgres._address("postgres"), autocommit=True) as connection:
        connection.execute(kill, [database.engine.url.database])
    store.insert([row(2)])
    assert count(database) == 2
    database.close()


GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent, sys, time
from app.database.engine import Database, Unavailable
database = Database(sys.argv[1])
ticks = []
ticker = gevent.spawn(lambda: [ticks.append(gevent.sleep(0.01)) for _ in range(1000)])
other = Database(sys.argv[1])
held = other.engine.raw_connection()
held.isolation_level = None
held.execute("BEGIN IMMEDIATE")
waiting = gevent.spawn(database.run, lambda c: c.exec_driver_sql("CREATE TABLE x (y int)").close())
gevent.sleep(0.3)
assert not waiting.dead
held.execute("COMMIT")
waiting.get(timeout=10)
assert len(ticks) > 15, ticks
print(database.run(lambda c: c.exec_driver_sql("SELECT count(*) FROM x").scalar_one()))
"""


def test_busy_sqlite_does_not_block_other_greenlets(tmp_path):
    import subprocess
    import sys

    command = [sys.executable, "-c", GEVENT, f"sqlite:///{tmp_path}/busy.db"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_thread_pool_is_used_only_if_gevent_has_patched():
    import gevent.monkey

    from app.concurrency.native_threads import threads_are_greenlets
    from app.database import engine

    assert gevent.monkey.saved == {}
    assert not threads_are_greenlets()
    assert engine._ThreadCaller(None)(lambda: 5) == 5


def sums(database, rollup="usage_hours"):
    query = f"SELECT hour, requests, cost, ms FROM {rollup} ORDER BY hour, requests"
    return [tuple(found) for found in database.run(lambda c: c.exec_driver_sql(query).all())]


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
]


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
            group = tuple((values | {"day": local.isoformat()})[name] for name in by)
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


def test_migration_fills_rollups_from_existing_rows(url):
    from alembic import command

    from app.database.migrations import _config

    database = Database(url)
    with database.engine.begin() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    rows = [row(n, time=n * HOUR_MS * 7, user=f"u{n % 2}") for n in range(20)]
    _insert_before_spaces(database, rows)
    assert migrate(database.engine) == ("0001", newest())
    filled = [sums(database, table.name) for table in ROLLUPS]
    for table in ("usage_requests", *(table.name for table in ROLLUPS)):
        database.run(lambda c, t=table: c.exec_driver_sql(f"DELETE FROM {t}"))
    Store(database).insert(rows)
    assert filled == [sums(database, table.name) for table in ROLLUPS]
    assert all(filled)
    database.close()


def _insert_before_spaces(database, rows):
    """Insert rows as versions before 0004 did: without columns of spaces and service tiers."""
    names = [name for name in COLUMNS if name not in ("space", "service_tier")]
    values = [dict(zip(names, r, strict=False)) for r in rows]
    table = sa.table("usage_requests", *map(sa.column, names))
    database.run(lambda c: c.execute(sa.insert(table), values))


def test_rows_of_workers_of_the_version_before_are_taken_after_the_migration(database, store):
    _insert_before_spaces(database, [row(1)])
    store.insert([row(2, space="acme/bge", service_tier="flex")])
    columns = metadata.tables["usage_requests"].c
    select = sa.select(columns.space, columns.service_tier).order_by("number")
    found = database.run(lambda c: [tuple(each) for each in c.execute(select)])
    assert found == [("", "default"), ("acme/bge", "flex")]
