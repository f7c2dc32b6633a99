"""The ledger inserts each row exactly once, whatever fails, and no request waits for it."""

import logging
import threading
from types import SimpleNamespace

import pytest

from app.database.columns import COLUMNS
from app.database.engine import Unavailable
from app.errors import Unauthorized
from app.usage.ledger import journal as journals
from app.usage.ledger import ledger as ledgers
from app.usage.ledger import shipper as shippers
from tests.support.server import eventually
from tests.usage.conftest import row
from tests.usage.ledger.ledgers import files, finish_requests, set_aside_entries


def test_each_request_is_one_row_and_the_spool_is_emptied(make_ledger, fake_store, tmp_path):
    ledger = make_ledger()
    finish_requests(ledger, 50)
    finish_requests(ledger, 5, path="/v1/models", method="GET")
    eventually(lambda: len(fake_store.rows) == 50)
    eventually(lambda: not files(tmp_path))
    eventually(lambda: ledger.state.spooled_bytes == 0)
    state = ledger.state
    assert (state.recorded, state.written, state.lost, state.queued) == (50, 50, 0, 0)
    assert state.database_up


@pytest.mark.parametrize("failure", ["no room", "a bug"])
def test_rows_that_the_spool_does_not_take_at_the_end_stay_in_the_journal(
    make_ledger, fake_store, tmp_path, monkeypatch, caplog, failure
):
    monkeypatch.setattr(ledgers, "SPOOL_INTERVAL_S", 60)
    monkeypatch.setattr(shippers, "ORPHAN_INTERVAL_S", 60)
    ledger = make_ledger(max_bytes=0 if failure == "no room" else 2**20, memory=tmp_path / "memory")
    if failure == "a bug":
        monkeypatch.setattr(ledger, "_write_rows", lambda: 1 / 0)
    finish_requests(ledger, 5)
    monkeypatch.setattr(journals, "MAX_JOURNAL_BYTES", 0)
    finish_requests(ledger, 2)
    files = ledger._journal._files
    ledger.close()
    assert "loses 2 rows" in caplog.text
    assert "5 rows stay in the journal" in caplog.text
    for file in files:
        file.release()  # as the end of the process does
    make_ledger(memory=tmp_path / "memory")
    eventually(lambda: sorted(number for _, number in fake_store.rows) == [1, 2, 3, 4, 5])


def test_journal_is_removed_at_the_end_if_the_spool_has_all_rows(make_ledger, fake_store, tmp_path):
    ledger = make_ledger(memory=tmp_path / "memory")
    finish_requests(ledger, 5)
    ledger.close()
    assert len(fake_store.rows) == 5
    assert not (tmp_path / "memory").exists()


def test_row_numbers_of_many_threads_are_distinct(make_ledger, fake_store):
    ledger = make_ledger()
    threads = [threading.Thread(target=finish_requests, args=(ledger, 500)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: len(fake_store.rows) == 4000)


def test_close_writes_all_queued_rows(make_ledger, fake_store, monkeypatch):
    monkeypatch.setattr(ledgers, "SPOOL_INTERVAL_S", 60)
    ledger = make_ledger()
    finish_requests(ledger, 2500)
    ledger.close()
    ledger.close()  # once is enough
    assert len(fake_store.rows) == 2500
    assert max(fake_store.batches) == 1000


def test_rows_are_inserted_once_after_a_database_outage(make_ledger, fake_store, tmp_path, caplog):
    caplog.set_level(logging.INFO, "app.usage")
    fake_store.error = Unavailable("connection refused")
    ledger = make_ledger()
    finish_requests(ledger, 10)
    eventually(lambda: not ledger.state.database_up)
    finish_requests(ledger, 10)
    eventually(lambda: ledger.state.queued == 0)
    assert ledger.state.spooled_bytes > 0
    assert files(tmp_path)
    fake_store.error = None
    eventually(lambda: len(fake_store.rows) == 20)
    eventually(lambda: not files(tmp_path))
    assert ledger.state.written == 20
    assert ledger.state.database_up
    messages = [record.message for record in caplog.records]
    assert len([m for m in messages if "is away" in m]) == 1
    assert "the usage ledger's database is back" in messages


def test_rows_left_by_a_stopped_process_are_shipped_by_the_next(make_ledger, fake_store, tmp_path):
    fake_store.error = Unavailable("connection refused")
    first = make_ledger()
    finish_requests(first, 10)
    first.close()
    assert fake_store.rows == {}
    assert files(tmp_path)
    fake_store.error = None
    make_ledger()
    eventually(lambda: len(fake_store.rows) == 10)
    eventually(lambda: not files(tmp_path))


def test_hanging_database_delays_neither_spool_nor_close(
    make_ledger, fake_store, tmp_path, monkeypatch
):
    monkeypatch.setattr(ledgers, "SHUTDOWN_TIMEOUT_S", 1.0)
    ledger = make_ledger()
    fake_store.hold.clear()
    finish_requests(ledger, 10)
    eventually(lambda: not ledger._shipper.is_idle)
    finish_requests(ledger, 10)
    eventually(lambda: ledger.state.queued == 0, what="the spool takes them")
    ledger.close()
    assert len(files(tmp_path)) == 2
    fake_store.hold.set()


def test_only_the_refused_row_is_set_aside(make_ledger, fake_store, tmp_path, caplog):
    ledger = make_ledger()
    finish_requests(ledger, 5)
    finish_requests(ledger, 1, user="bad")
    finish_requests(ledger, 5)
    eventually(lambda: len(fake_store.rows) == 10)
    eventually(lambda: ledger.state.lost == 1)
    # What is refused is lost, and not written too.
    eventually(lambda: ledger._shipper.is_idle and ledger.state.spooled_bytes == 0)
    assert ledger.state.written == 10
    assert "set aside 1 rows: no such character" in caplog.text
    (entry,) = set_aside_entries(tmp_path)
    assert entry["reason"] == "no such character"
    assert entry["row"][COLUMNS.index("user")] == "bad"


def await_in_memory(ledger, number):
    """Wait until all queued rows are those in memory, and so many."""
    runs = ledger._task.runs + 2  # the one that goes on may have begun before, and the next
    eventually(lambda: ledger._task.runs >= runs)
    assert (len(ledger._queue), len(ledger._rows)) == (0, number)


def test_a_full_spool_keeps_rows_in_memory_and_then_drops_the_newest(
    make_ledger, fake_store, caplog, monkeypatch
):
    monkeypatch.setattr(ledgers, "MAX_ROWS_IN_MEMORY", 10)
    fake_store.error = Unavailable("away")
    ledger = make_ledger(max_bytes=10)
    finish_requests(ledger)
    eventually(lambda: ledger.state.spooled_bytes > 10)
    for kept in (5, 10, 10):
        finish_requests(ledger, 5)
        await_in_memory(ledger, kept)
    assert (ledger.state.recorded, ledger.state.queued, ledger.state.lost) == (16, 10, 5)
    assert caplog.text.count("drops the newest rows") == 1
    fake_store.error = None
    eventually(lambda: len(fake_store.rows) == 11)
    assert sorted(number for _, number in fake_store.rows) == list(range(1, 12))
    eventually(lambda: ledger.state.written + ledger.state.lost == ledger.state.recorded)


def test_rows_stay_in_memory_while_the_spool_cannot_be_written(
    make_ledger, fake_store, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(ledgers, "MAX_ROWS_IN_MEMORY", 100)
    (tmp_path / "spool").write_text("a file in its place")
    ledger = make_ledger()
    finish_requests(ledger, 20)
    eventually(lambda: "cannot write its spool" in caplog.text)
    finish_requests(ledger, 5)
    (tmp_path / "spool").unlink()
    eventually(lambda: len(fake_store.rows) == 25)
    eventually(lambda: not list((tmp_path / "spool").iterdir()))
    (tmp_path / "spool").rmdir()
    (tmp_path / "spool").write_text("again")
    for kept in (60, 100, 100):
        finish_requests(ledger, 60)
        await_in_memory(ledger, kept)
    state = ledger.state
    assert (state.recorded, state.queued, state.lost) == (205, 100, 80)


def test_a_full_queue_is_logged_once_an_episode(make_ledger, monkeypatch, caplog):
    monkeypatch.setattr(ledgers, "MAX_ROWS_IN_MEMORY", 100)
    ledger = make_ledger(start=False)
    finish_requests(ledger, 150)
    state = ledger.state
    assert (state.recorded, state.queued, state.lost) == (150, 100, 50)
    assert caplog.text.count("drops the newest rows") == 1
    ledger._empty_queue()
    finish_requests(ledger, 101)
    assert caplog.text.count("drops the newest rows") == 2


def test_rows_that_json_cannot_hold_are_set_aside(make_ledger, fake_store, tmp_path, caplog):
    ledger = make_ledger(start=False)
    rows = iter([row(1, prompt_tokens=2**70), row(2, user="\ud800"), row(3)])
    ledger._recorder = SimpleNamespace(row=lambda *_: next(rows))
    finish_requests(ledger, 3)
    ledger.start()
    eventually(lambda: len(fake_store.rows) == 1)
    state = ledger.state
    assert (state.recorded, state.lost, state.queued) == (3, 2, 0)
    assert len(set_aside_entries(tmp_path)) == 2
    assert "set aside 2 rows" in caplog.text


def test_an_exception_does_not_end_the_ledger_thread(make_ledger, fake_store, monkeypatch, caplog):
    ledger = make_ledger(start=False)
    real, calls = ledger._empty_queue, iter([ZeroDivisionError("a bug")])

    def empty():
        for error in calls:
            raise error
        real()

    monkeypatch.setattr(ledger, "_empty_queue", empty)
    ledger.start()
    finish_requests(ledger, 3)
    eventually(lambda: len(fake_store.rows) == 3)
    assert "usage-ledger failed" in caplog.text


def test_requests_without_a_valid_key_leave_no_row(make_ledger, fake_store):
    ledger = make_ledger()
    finish_requests(ledger, 5, caller=None, error=Unauthorized("no key"))
    finish_requests(ledger, 1)
    eventually(lambda: len(fake_store.rows) == 1)
    assert ledger.state.recorded == 1
