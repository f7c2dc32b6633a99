"""Reports over HTTP: one at a time for each key, a rate limit, a time limit, own threads."""

import contextlib
import subprocess
import sys
import threading

import pytest

from app.database.engine import Database, Unavailable
from app.errors import RateLimited, UsageUnavailable
from app.limits.counters.memory import MemoryWindows
from app.usage.reports.reporter import MAX_REPORTS_PER_MINUTE, Reporter
from app.usage.store.store import ReportQuery
from tests.support.server import ROOT, eventually

ALL = ReportQuery(["key"], 0, 10**15)


class SlowStore:
    """A store that answers when the test allows it."""

    def __init__(self):
        self.started = threading.Semaphore(0)
        self.go = threading.Event()

    def report(self, query, max_groups):
        self.started.release()
        assert self.go.wait(60)
        return [{"requests": 1}]


class QuickStore:
    def report(self, query, max_groups):
        return []


class AwayStore:
    def report(self, query, max_groups):
        raise Unavailable("interrupted")


def test_reports_made_together_count_as_one():
    class CountingStore(QuickStore):
        asked = 0

        def report(self, query, max_groups):
            self.asked += 1
            return [{"requests": self.asked}]

    reporter = Reporter(CountingStore())
    for _ in range(MAX_REPORTS_PER_MINUTE):
        rows = reporter.run("a", lambda report: report(ALL) + report(ALL))
        assert rows[1]["requests"] == rows[0]["requests"] + 1
    with pytest.raises(RateLimited):
        reporter.run("a", lambda report: report(ALL))
    with pytest.raises(UsageUnavailable):
        Reporter(AwayStore()).run("a", lambda report: report(ALL))


def test_a_key_makes_one_report_at_a_time_and_a_worker_two():
    store = SlowStore()
    reporter = Reporter(store)
    threads = [threading.Thread(target=reporter.report, args=(key, ALL)) for key in ("a", "b")]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert store.started.acquire(timeout=20)
    with pytest.raises(RateLimited, match="one at a time") as caught:
        reporter.report("a", ALL)
    assert caught.value.retry_after == 1
    with pytest.raises(UsageUnavailable, match="Other reports"):
        reporter.run("a", lambda report: report(ALL), slot="another tab")
    with pytest.raises(UsageUnavailable, match="Other reports") as caught:
        reporter.report("c", ALL)
    assert caught.value.retry_after == 1
    store.go.set()
    for thread in threads:
        thread.join(20)
    assert reporter.report("a", ALL) == [{"requests": 1}]


def test_reports_of_a_key_are_limited_per_minute():
    now = [1000.0]
    reporter = Reporter(QuickStore(), MemoryWindows(clock=lambda: now[0]))
    for _ in range(MAX_REPORTS_PER_MINUTE):
        reporter.report("a", ALL)
    with pytest.raises(RateLimited, match="60 per minute") as caught:
        reporter.report("a", ALL)
    reporter.report("b", ALL)
    now[0] += caught.value.retry_after
    reporter.report("a", ALL)


def test_a_database_that_takes_too_long_is_a_503_and_frees_the_slot():
    reporter = Reporter(AwayStore())
    for _ in range(3):
        with pytest.raises(UsageUnavailable, match="a shorter time"):
            reporter.report("a", ALL)


ENDLESS = {
    "sqlite": (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    ),
    "postgresql": "SELECT pg_sleep(600)",
}


def test_statement_is_cancelled_at_the_time_limit(url):
    database = Database(url, 0.2)
    with pytest.raises(Unavailable):
        database.run(lambda c: c.exec_driver_sql(ENDLESS[url.partition("+")[0].partition(":")[0]]))

    def works():  # within its own 0.2 s, which a busy machine may exceed
        with contextlib.suppress(Unavailable):
            return database.run(lambda c: c.exec_driver_sql("SELECT 1").scalar_one()) == 1

    eventually(works)
    database.close()


GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent, sys
from app.database.engine import Database, Unavailable
held = gevent.event.Event()
database = Database(sys.argv[1], 60)
def endless(connection):
    connection.exec_driver_sql(sys.argv[2])
waiting = [gevent.spawn(database.run, endless) for _ in range(20)]
gevent.sleep(0.2)
# All threads of this database are busy, and more wait: the hub's own are free for names.
import socket
with gevent.Timeout(20):
    socket.getaddrinfo("localhost", 1)
print("resolved", gevent.get_hub().threadpool.size <= 1, flush=True)
import os
os._exit(0)
"""


def test_reports_do_not_use_the_thread_pool_of_gevent(tmp_path):
    command = [sys.executable, "-c", GEVENT, f"sqlite:///{tmp_path}/x.db", ENDLESS["sqlite"]]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "resolved True\n"), done.stderr
