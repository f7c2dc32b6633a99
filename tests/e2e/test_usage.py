"""The ledger of the real server counts all answered requests, also during failures."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.metered import Metered
from tests.e2e.metered import postgres as postgres
from tests.e2e.metered import start as start
from tests.e2e.metered import upstream as upstream
from tests.e2e.usage_load import Load
from tests.support.postgres import Postgres
from tests.support.server import eventually
from tests.support.settings import KEY
from tests.support.valkey import Valkey

AWAY_S = 10  # of the database, at least: then the pauses between two attempts are the longest


KINDS = [("sqlite", "gevent"), ("postgresql", "gthread")]


@pytest.mark.parametrize(("kind", "worker_class"), KINDS)
def test_sums_equal_answered_requests_after_hup_and_term(start, kind, worker_class):
    proxy = start(kind, worker_class)
    with Load(proxy.port) as load:
        eventually(lambda: len(load.answered) > 100, 60)
        old = set(proxy.workers())
        proxy.process.send_signal(signal.SIGHUP)
        eventually(lambda: (new := set(proxy.workers())) and not new & old, 60)
        before = len(load.answered)
        eventually(lambda: len(load.answered) > before + 100, 60)
        proxy.process.terminate()
        assert proxy.process.wait(60) == 0
    assert load.lost == []
    # All rows are written when the processes have ended.
    assert proxy.spooled() == []
    rows = proxy.rows()
    assert set(rows) == set(load.answered)
    assert set(rows.values()) == {1}
    assert "Traceback" not in proxy.stderr() + proxy.stdout()


@pytest.mark.parametrize("worker_class", ["gevent", "gthread"])
def test_a_killed_worker_loses_no_row(start, worker_class):
    proxy = start("sqlite", worker_class)
    with Load(proxy.port) as load:
        for _ in range(3):
            before = len(load.answered)
            eventually(lambda before=before: len(load.answered) > before + 200, 60)
            eventually(lambda: len(proxy.workers()) == 2, 60)
            os.kill(proxy.workers()[0], signal.SIGKILL)
        before = len(load.answered)
        eventually(lambda: len(load.answered) > before + 50, 60)
    answered = set(load.answered)
    eventually(lambda: answered <= proxy.rows().keys(), 60, "every answer is in the ledger")
    eventually(lambda: not proxy.spooled(), 60, "what the dead left behind is taken over")
    rows = proxy.rows()
    assert set(rows.values()) == {1}
    # A worker may have written a row and died before its answer.
    assert len(rows.keys() - answered) <= 3 * load.clients


def test_rows_in_the_journal_survive_a_stop_while_the_spool_cannot_be_written(start):
    proxy = start("sqlite")
    aside = proxy.spool.with_name("aside")
    proxy.spool.rename(aside)
    proxy.spool.write_text("no directory")
    with Load(proxy.port) as load:
        eventually(lambda: len(load.answered) > 100, 60)
        proxy.process.terminate()
        assert proxy.process.wait(60) == 0
    assert "rows stay in the journal" in proxy.stderr() + proxy.stdout()
    proxy.spool.unlink()
    aside.rename(proxy.spool)
    start("sqlite").settled(set(load.answered))


def test_every_row_is_written_after_seconds_without_database(start, postgres):
    """The limits' server is restarted meanwhile, which loses no row either."""
    with Valkey() as valkey:
        database_stops(start("postgresql", valkey=valkey), postgres, valkey)


def database_stops(proxy: Metered, postgres: Postgres, valkey: Valkey) -> None:
    with Load(proxy.port) as load:
        eventually(lambda: len(load.answered) > 50, 60)
        assert counted(valkey)
        postgres.stop()
        stopped = time.monotonic()
        try:
            valkey.kill()
            before = len(load.answered)
            eventually(lambda: len(load.answered) > before + 200, 60)
            slowest = max(load.seconds[before:])
            valkey.start()  # empty
            eventually(lambda: counted(valkey), 20, "requests are counted again")
            # Also rows of workers that have stopped meanwhile.
            proxy.process.send_signal(signal.SIGHUP)
            old = set(proxy.workers())
            eventually(lambda: (new := set(proxy.workers())) and not new & old, 60)
            before = len(load.answered)
            eventually(lambda: len(load.answered) > before + 100, 60)
            eventually(lambda: time.monotonic() > stopped + AWAY_S, AWAY_S + 1)
            assert proxy.spooled()
            assert proxy.process.poll() is None
        finally:
            postgres.start()
        before = len(load.answered)
        eventually(lambda: len(load.answered) > before + 50, 60)
    assert load.lost == []
    # None waited for the database; a few for the first new worker.
    assert slowest < AWAY_S
    assert sum(seconds > AWAY_S / 2 for seconds in load.seconds) < 0.05 * len(load.seconds)
    proxy.settled(set(load.answered))
    report = proxy.flask("usage", "report", "--by", "key", "--json")
    (sums,) = json.loads(report)
    answered = len(load.answered)
    names = ("requests", "items", "prompt_tokens", "billed_tokens")
    assert [sums[name] for name in names] == [n * answered for n in (1, 2, 3, 3)]


def counted(valkey: Valkey) -> bool:
    with valkey.client() as client:
        return bool(client.keys("*:limits:*"))


def test_hanging_database_delays_no_request(start, postgres):
    proxy = start("postgresql")
    client = proxy.client()
    ids = {client.embed("embed", "a").headers["x-request-id"]}
    proxy.settled(ids)
    postgres.freeze()
    try:
        for _ in range(50):
            answer = client.embed("embed", "b")
            assert answer.status == 200
            assert answer.seconds < 10
            ids.add(answer.headers["x-request-id"])
    finally:
        postgres.thaw()
    proxy.settled(ids)


def test_repeated_request_id_is_counted_each_time(start):
    proxy = start("sqlite", workers=1)
    for _ in range(5):
        body = {"model": "embed", "input": ["a b", "c"], "user": "u\0\u2028"}
        answer = proxy.client().post(body, X_Request_Id="always-the-same")
        assert answer.status == 200
    eventually(lambda: proxy.rows() == {"always-the-same": 5})
    report = proxy.flask("usage", "report", "--by", "key,user,model", "--csv").splitlines()
    assert report[0].startswith("key,user,model,requests,refused,invalid,failed,items,")
    assert "embed,5,0,0,0,10,15,15,0," in "".join(report)
    (row,) = proxy.client().get("/v1/usage?by=key").json["data"]
    assert (row["key"], row["requests"], row["prompt_tokens"]) == ("tests", 5, 15)
    assert KEY not in Path(proxy.ledger.removeprefix("sqlite:///")).read_bytes().decode("latin-1")
