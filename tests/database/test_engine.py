"""Databases that are away, busy or restarted."""

import pytest

from app.database.engine import Database, Unavailable
from app.database.migrations import migrate
from app.usage.store.store import ReportQuery, Store
from tests.providers.http import NoThreads
from tests.support.server import eventually
from tests.usage.conftest import row
from tests.usage.store.sums import count

ALL = (0, 10**15)


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
        left = kill.replace("pg_terminate_backend(pid)", "pid")
        eventually(lambda: not connection.execute(left, [database.engine.url.database]).fetchall())
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
ticker = gevent.spawn(lambda: [ticks.append(gevent.sleep(0.01)) for _ in range(100_000)])
other = Database(sys.argv[1])
held = other.engine.raw_connection()
held.isolation_level = None
held.execute("BEGIN IMMEDIATE")
waiting = gevent.spawn(database.run, lambda c: c.exec_driver_sql("CREATE TABLE x (y int)").close())
while len(ticks) < 15: gevent.sleep(0.01)
assert not waiting.dead  # SQLite would have waited for ten seconds, without a tick, and then failed
held.execute("COMMIT")
waiting.get(timeout=20)
print(database.run(lambda c: c.exec_driver_sql("SELECT count(*) FROM x").scalar_one()))
"""


def test_busy_sqlite_does_not_block_other_greenlets(tmp_path):
    import subprocess
    import sys

    command = [sys.executable, "-c", GEVENT, f"sqlite:///{tmp_path}/busy.db"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_thread_pool_is_used_only_if_gevent_has_patched():
    import gevent.monkey

    from app.concurrency.threads import threads_are_greenlets
    from app.database import engine

    assert gevent.monkey.saved == {}
    assert not threads_are_greenlets()
    assert engine._ThreadCaller(None)(lambda: 5) == 5


def test_database_is_unavailable_where_no_thread_can_be_had(monkeypatch):
    from app.concurrency import threads
    from app.database import engine

    call = engine._ThreadCaller(None)
    with monkeypatch.context() as patch:
        patch.setattr(threads, "_thread", NoThreads(RuntimeError))
        with pytest.raises(Unavailable, match="no thread"):
            call(lambda: 5)
    assert call(lambda: 5) == 5
