"""What the ledger asks of SQLite and of PostgreSQL, and that both give the same."""

import pytest
import sqlalchemy as sa

from app.usage.database import Database, Refused, Unavailable
from app.usage.migrations import migrate, newest, version
from app.usage.store import DAY_MS, HOUR_MS, Store, Unusual, purge_before
from app.usage.tables import metadata
from tests.usage.conftest import row

ALL = (0, 10**15)


def count(database, statement="SELECT count(*) FROM usage_requests"):
    return database.run(lambda c: c.exec_driver_sql(statement).scalar_one())


def test_the_same_row_counts_once(store, database):
    store.insert([row(1), row(2)])
    store.insert([row(2, cost=99), row(3), row(1, writer="other")])
    assert count(database) == 4
    (sums,) = store.report([], *ALL)
    assert sums["requests"] == 4
    assert sums["cost"] == 4 * 16


def test_a_report_sums_up_by_what_is_asked(store):
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
    first, *rest = store.report(["key", "user"], *ALL)
    assert (first["key"], first["user"]) == ("team", "a")
    assert first.items() >= {n: 2 * v for n, v in usual.items()}.items()
    assert first.items() >= {"requests": 2, "refused": 1, "invalid": 0, "failed": 0}.items()
    assert [(r["key"], r["user"], r["requests"]) for r in rest] == [
        ("team", "b", 2),
        ("other", "", 1),
    ]
    assert (rest[0]["invalid"], rest[0]["failed"]) == (1, 1)
    assert all(type(name) is str for name in first)
    assert [(r["day"], r["requests"]) for r in store.report(["day"], *ALL)] == [(0, 4), (DAY_MS, 1)]
    assert [r["status"] for r in store.report(["status"], *ALL, most=2)] == [200, 400]
    assert len(store.report(["key"], *ALL, key="team")) == 1
    assert store.report(["key"], 0, 5) == []


def test_an_empty_ledger_has_no_groups_and_one_sum(store):
    assert store.report(["key"], *ALL) == []
    assert store.report([], *ALL) == []


def test_unusual_hours_are_counted_by_group(store):
    store.insert(
        [row(n, time=HOUR_MS * (n // 4)) for n in range(9)]  # 4, 4 and 1 in an hour
        + [row(20, key="big", prompt_tokens=1000), row(21, key="small")]
    )

    def hours(unusual):
        found = store.report(["key"], *ALL, unusual=unusual)
        return {r["key"]: (r["unusual_hours"], r["requests"]) for r in found}

    assert hours(Unusual(requests=3)) == {"team": (2, 9), "big": (0, 1), "small": (0, 1)}
    assert hours(Unusual(tokens=100)) == {"team": (0, 9), "big": (1, 1), "small": (0, 1)}
    assert hours(Unusual(3, 100))["big"] == (1, 1)
    assert store.report(["day"], *ALL, unusual=Unusual(3))[0]["unusual_hours"] == 2
    assert "unusual_hours" not in store.report(["key"], *ALL, unusual=Unusual())[0]


def test_the_unusual_are_named_keys_and_users_apart(store):
    store.insert([row(n, user="loud" if n < 6 else "calm") for n in range(8)])
    store.insert([row(n, user=f"u{n}", key="", status=401) for n in range(20, 40)])
    found = store.unusual(0, Unusual(requests=5))
    assert [(r["key"], r["user"], r["requests"]) for r in found] == [
        ("team", "", 8),
        ("team", "loud", 6),
    ]
    assert found[1]["prompt_tokens"] == 60
    assert store.unusual(10**9, Unusual(requests=5)) == []


def test_old_rows_go_in_portions(store, database, monkeypatch):
    monkeypatch.setattr("app.usage.store._PURGE", 3)
    store.insert([row(n, time=n) for n in range(10)])
    assert store.purge(7) == 7
    assert store.purge(7) == 0
    assert count(database) == 3


def test_rows_are_kept_for_whole_days():
    assert purge_before(2 * DAY_MS, newest=10.5 * DAY_MS) == 8 * DAY_MS


def test_a_clock_that_is_ahead_deletes_nothing(store, database):
    """Also not after it has left rows of its own, in two of its days."""
    now, wrong = 1000 * DAY_MS, 1401 * DAY_MS
    store.insert([row(n, time=now - n * DAY_MS) for n in range(5)])
    store.insert([row(n, time=wrong + n * DAY_MS, writer="ahead") for n in range(2)])
    assert store.purge_older(400 * DAY_MS, wrong) == 0
    assert count(database) == 7
    # Two days behind, for the three newest days decide: what is older than that does go.
    assert store.purge_older(2 * DAY_MS, wrong) == 2
    assert count(database) == 5


def test_the_clock_decides_where_rows_are_ahead_of_it(store, database):
    store.insert([row(n, time=n * DAY_MS) for n in range(10)])
    assert store.purge_older(2 * DAY_MS, 5 * DAY_MS) == 3
    assert count(database) == 7


def test_two_days_of_rows_decide_nothing(store):
    store.insert([row(1, time=5), row(2, time=900 * DAY_MS)])
    assert store.purge_older(DAY_MS, 900 * DAY_MS) == 0


@pytest.mark.parametrize("odd", [{"key": None}, {"cost": 2**63}, {"user": "\ud800"}])
def test_a_row_that_cannot_be_is_refused_and_the_others_are_not(store, database, odd):
    with pytest.raises(Refused):
        store.insert([row(1), row(2, **odd)])
    assert count(database) == 0
    ((refused, why),) = store.insert_each([row(1), row(2, **odd), row(3)])
    assert refused == row(2, **odd)
    assert why
    assert count(database) == 2


def test_without_tables_the_database_is_not_available(url):
    database = Database(url)
    with pytest.raises(Unavailable, match="usage_requests") as caught:
        Store(database).insert([row(1)])
    assert "INSERT" not in str(caught.value)
    database.close()


def test_nobody_there_is_not_available():
    database = Database("postgresql+psycopg://me:sesame@127.0.0.1:1/x")
    with pytest.raises(Unavailable) as caught:
        Store(database).report([], *ALL)
    assert "sesame" not in str(caught.value)
    database.close()


def test_migrations_make_what_the_program_expects(url):
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


def test_a_migration_can_be_undone(url):
    from alembic import command

    from app.usage.migrations import _config

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


def test_connections_that_a_restart_cut_are_replaced(postgres):
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
from app.usage.database import Database, Unavailable
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


def test_under_gevent_a_busy_sqlite_stops_no_other_greenlet(tmp_path):
    import subprocess
    import sys

    command = [sys.executable, "-c", GEVENT, f"sqlite:///{tmp_path}/busy.db"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_gevent_is_asked_only_where_it_has_patched():
    import gevent.monkey

    from app.usage import database

    assert gevent.monkey.saved == {}
    assert not database._is_gevent()
    assert database._in_a_thread(lambda: 5) == 5
