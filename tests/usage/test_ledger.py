"""The ledger inserts each row exactly once, whatever fails, and no request waits for it."""

import json
import logging
import threading
from types import SimpleNamespace

import pytest

from app.database.columns import COLUMNS
from app.database.engine import Unavailable
from app.errors import Unauthorized
from app.usage import journal as journals
from app.usage import ledger as ledgers
from app.usage import shipper as shippers
from app.usage.journal import Journal
from app.usage.ledger import Ledger
from app.usage.record import Recorder
from app.usage.segment import encode_row, new_segment
from app.usage.shipper import Chore, Shipper
from app.usage.spool import Spool
from tests.support.server import eventually
from tests.usage.conftest import exchange, row
from tests.usage.fake_store import FakeStore
from tests.usage.test_record import MODELS


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(ledgers, "SPOOL_INTERVAL_S", 0.01)
    monkeypatch.setattr(ledgers, "SHIP_INTERVAL_S", 0.02)
    monkeypatch.setattr(ledgers, "SHUTDOWN_TIMEOUT_S", 1.0)
    monkeypatch.setattr(shippers, "MAX_RETRY_PAUSE_S", 0.05)
    monkeypatch.setattr(shippers, "ORPHAN_INTERVAL_S", 0.05)


@pytest.fixture
def store():
    return FakeStore()


@pytest.fixture
def make(tmp_path, store):
    """Make ledgers that share one spool, and close them after the test."""
    made = []

    def make_ledger(max_bytes=2**20, chores=(), start=True, memory=None):
        writer = Ledger.new_writer()
        spool = Spool(str(tmp_path / "spool"), writer, max_bytes, memory)
        shipper = Shipper(store, spool, list(chores))
        ledger = Ledger(Recorder(MODELS), spool, shipper, writer, Journal(memory, writer))
        made.append(ledger)
        if start:
            ledger.start()
        return ledger

    yield make_ledger
    store.hold.set()
    for ledger in made:
        ledger.close()


def finish_requests(ledger, number=1, **fields):
    for _ in range(number):
        ledger.finished(exchange(**fields), 200)


def files(tmp_path):
    return list((tmp_path / "spool").glob("*"))


def set_aside_entries(tmp_path):
    """The entries of the file with rows that were refused."""
    (path,) = (tmp_path / "spool").glob("*.refused")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_request_is_one_row_and_the_spool_is_emptied(make, store, tmp_path):
    ledger = make()
    finish_requests(ledger, 50)
    finish_requests(ledger, 5, path="/v1/models", method="GET")
    eventually(lambda: len(store.rows) == 50)
    eventually(lambda: not files(tmp_path))
    state = ledger.state
    assert (state.recorded, state.written, state.lost, state.queued) == (50, 50, 0, 0)
    assert (state.spooled_bytes, state.database_up) == (0, True)


@pytest.mark.parametrize("failure", ["no room", "a bug"])
def test_rows_that_the_spool_does_not_take_at_the_end_stay_in_the_journal(
    make, store, tmp_path, monkeypatch, caplog, failure
):
    monkeypatch.setattr(ledgers, "SPOOL_INTERVAL_S", 60)
    monkeypatch.setattr(shippers, "ORPHAN_INTERVAL_S", 60)
    ledger = make(max_bytes=0 if failure == "no room" else 2**20, memory=tmp_path / "memory")
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
    make(memory=tmp_path / "memory")
    eventually(lambda: sorted(number for _, number in store.rows) == [1, 2, 3, 4, 5])


def test_journal_is_removed_at_the_end_if_the_spool_has_all_rows(make, store, tmp_path):
    ledger = make(memory=tmp_path / "memory")
    finish_requests(ledger, 5)
    ledger.close()
    assert len(store.rows) == 5
    assert not (tmp_path / "memory").exists()


def test_row_numbers_of_many_threads_are_distinct(make, store):
    ledger = make()
    threads = [threading.Thread(target=finish_requests, args=(ledger, 500)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: len(store.rows) == 4000)


def test_close_writes_all_queued_rows(make, store, monkeypatch):
    monkeypatch.setattr(ledgers, "SPOOL_INTERVAL_S", 60)
    ledger = make()
    finish_requests(ledger, 2500)
    ledger.close()
    ledger.close()  # once is enough
    assert len(store.rows) == 2500
    assert max(store.batches) == 1000


def test_rows_are_inserted_once_after_a_database_outage(make, store, tmp_path, caplog):
    caplog.set_level(logging.INFO, "app.usage")
    store.error = Unavailable("connection refused")
    ledger = make()
    finish_requests(ledger, 10)
    eventually(lambda: not ledger.state.database_up)
    finish_requests(ledger, 10)
    eventually(lambda: ledger.state.queued == 0)
    assert ledger.state.spooled_bytes > 0
    assert files(tmp_path)
    store.error = None
    eventually(lambda: len(store.rows) == 20)
    eventually(lambda: not files(tmp_path))
    assert ledger.state.written == 20
    assert ledger.state.database_up
    messages = [record.message for record in caplog.records]
    assert len([m for m in messages if "is away" in m]) == 1
    assert "the usage ledger's database is back" in messages


def test_rows_left_by_a_stopped_process_are_shipped_by_the_next(make, store, tmp_path):
    store.error = Unavailable("connection refused")
    first = make()
    finish_requests(first, 10)
    first.close()
    assert store.rows == {}
    assert files(tmp_path)
    store.error = None
    make()
    eventually(lambda: len(store.rows) == 10)
    eventually(lambda: not files(tmp_path))


def test_hanging_database_delays_neither_spool_nor_close(make, store, tmp_path):
    ledger = make()
    store.hold.clear()
    finish_requests(ledger, 10)
    eventually(lambda: not ledger._shipper.is_idle)
    finish_requests(ledger, 10)
    eventually(lambda: ledger.state.queued == 0, what="the spool takes them")
    ledger.close()
    assert len(files(tmp_path)) == 2
    store.hold.set()


def test_only_the_refused_row_is_set_aside(make, store, tmp_path, caplog):
    ledger = make()
    finish_requests(ledger, 5)
    finish_requests(ledger, 1, user="bad")
    finish_requests(ledger, 5)
    eventually(lambda: len(store.rows) == 10)
    eventually(lambda: ledger.state.lost == 1)
    # What is refused is lost, and not written too.
    eventually(lambda: ledger._shipper.is_idle and ledger.state.spooled_bytes == 0)
    assert ledger.state.written == 10
    assert "set aside 1 rows: no such character" in caplog.text
    (entry,) = set_aside_entries(tmp_path)
    assert entry["reason"] == "no such character"
    assert entry["row"][COLUMNS.index("user")] == "bad"


def test_a_full_spool_keeps_rows_in_memory_and_then_drops_the_newest(
    make, store, caplog, monkeypatch
):
    monkeypatch.setattr(ledgers, "MAX_ROWS_IN_MEMORY", 10)
    store.error = Unavailable("away")
    ledger = make(max_bytes=10)
    finish_requests(ledger)
    eventually(lambda: ledger.state.spooled_bytes > 10)
    for _ in range(3):
        finish_requests(ledger, 5)
        eventually(lambda: not ledger._queue)
    assert (ledger.state.recorded, ledger.state.queued, ledger.state.lost) == (16, 10, 5)
    assert caplog.text.count("drops the newest rows") == 1
    store.error = None
    eventually(lambda: len(store.rows) == 11)
    assert sorted(number for _, number in store.rows) == list(range(1, 12))
    eventually(lambda: ledger.state.written + ledger.state.lost == ledger.state.recorded)


def test_rows_stay_in_memory_while_the_spool_cannot_be_written(
    make, store, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(ledgers, "MAX_ROWS_IN_MEMORY", 100)
    (tmp_path / "spool").write_text("a file in its place")
    ledger = make()
    finish_requests(ledger, 20)
    eventually(lambda: "cannot write its spool" in caplog.text)
    finish_requests(ledger, 5)
    (tmp_path / "spool").unlink()
    eventually(lambda: len(store.rows) == 25)
    eventually(lambda: not list((tmp_path / "spool").iterdir()))
    (tmp_path / "spool").rmdir()
    (tmp_path / "spool").write_text("again")
    for _ in range(3):
        finish_requests(ledger, 60)
        eventually(lambda: not ledger._queue)
    state = ledger.state
    assert (state.recorded, state.queued, state.lost) == (205, 100, 80)


def test_a_full_queue_is_logged_once_an_episode(make, monkeypatch, caplog):
    monkeypatch.setattr(ledgers, "MAX_ROWS_IN_MEMORY", 100)
    ledger = make(start=False)
    finish_requests(ledger, 150)
    state = ledger.state
    assert (state.recorded, state.queued, state.lost) == (150, 100, 50)
    assert caplog.text.count("drops the newest rows") == 1
    ledger._empty_queue()
    finish_requests(ledger, 101)
    assert caplog.text.count("drops the newest rows") == 2


def test_rows_that_json_cannot_hold_are_set_aside(make, store, tmp_path, caplog):
    ledger = make()
    rows = iter([row(1, prompt_tokens=2**70), row(2, user="\ud800"), row(3)])
    ledger._recorder = SimpleNamespace(row=lambda *_: next(rows))
    finish_requests(ledger, 3)
    eventually(lambda: len(store.rows) == 1)
    state = ledger.state
    assert (state.recorded, state.lost, state.queued) == (3, 2, 0)
    assert len(set_aside_entries(tmp_path)) == 2
    assert "set aside 2 rows" in caplog.text


def test_an_exception_does_not_end_the_ledger_thread(make, store, monkeypatch, caplog):
    ledger = make(start=False)
    real, calls = ledger._empty_queue, iter([ZeroDivisionError("a bug")])

    def empty():
        for error in calls:
            raise error
        real()

    monkeypatch.setattr(ledger, "_empty_queue", empty)
    ledger.start()
    finish_requests(ledger, 3)
    eventually(lambda: len(store.rows) == 3)
    assert "usage-ledger failed" in caplog.text


def test_requests_without_a_valid_key_leave_no_row(make, store):
    ledger = make()
    finish_requests(ledger, 5, caller=None, error=Unauthorized("no key"))
    finish_requests(ledger, 1)
    eventually(lambda: len(store.rows) == 1)
    assert ledger.state.recorded == 1


def test_invalid_line_of_the_spool_is_set_aside(make, store, tmp_path):
    spool = Spool(str(tmp_path / "spool"), "dead", 2**20)
    spool.prepare()
    segment = spool.new()
    segment.append([row(1)])
    with segment.path.open("ab") as file:
        file.write(b'["w", {"a": 1}]\n["cut off')
    segment.release()
    ledger = make()
    eventually(lambda: len(store.rows) == 1)
    eventually(lambda: ledger.state.lost == 1)
    assert set_aside_entries(tmp_path)[0]["line"] == '["w", {"a": 1}]'


def dead_journal(directory):
    """Leave a journal with a row, as a worker does that is killed."""
    directory.mkdir(mode=0o700, exist_ok=True)
    segment = new_segment(directory, "dead-journal-0")
    segment.append([row(1)])
    segment.release()


def test_journals_that_cannot_be_taken_over_wait_for_the_next_interval(
    store, tmp_path, monkeypatch
):
    monkeypatch.setattr(shippers, "ORPHAN_INTERVAL_S", 60)
    dead_journal(tmp_path / "memory")
    (tmp_path / "spool").write_text("no directory: it cannot be written")
    spool = Spool(str(tmp_path / "spool"), "new", 2**20, tmp_path / "memory")
    shipper = Shipper(store, spool, [])
    real, searches = spool.take_over_journals, []
    monkeypatch.setattr(spool, "take_over_journals", lambda: (searches.append(1), real()))
    for _ in range(5):
        assert shipper._run() == shippers.IDLE_INTERVAL_S
    assert len(searches) == 1
    shipper.stop(1)


def test_journals_are_taken_over_while_a_segment_waits_for_the_database(store, tmp_path):
    spool = Spool(str(tmp_path / "spool"), "new", 2**20, tmp_path / "memory")
    spool.prepare()
    waiting = spool.new()
    waiting.append([row(2)])
    shipper = Shipper(store, spool, [])
    store.error = Unavailable("away")
    shipper.give(waiting)
    shipper.start()
    eventually(lambda: not shipper.is_database_up)
    dead_journal(tmp_path / "memory")
    eventually(lambda: not list((tmp_path / "memory").iterdir()))
    assert store.rows == {}
    store.error = None
    eventually(lambda: sorted(number for _, number in store.rows) == [1, 2])
    shipper.stop(5)


def test_an_invalid_line_is_set_aside_once_after_an_outage(make, store, tmp_path):
    spool = Spool(str(tmp_path / "spool"), "dead", 2**20)
    spool.prepare()
    segment = spool.new()
    segment.append_lines(b"no row\n" + encode_row(row(1)))
    segment.release()
    fails = iter([Unavailable("away")] * 3)
    real = store.insert

    def insert(rows):
        for error in fails:
            raise error
        real(rows)

    store.insert = insert
    ledger = make()
    eventually(lambda: len(store.rows) == 1)
    eventually(lambda: ledger.state.lost == 1 and ledger._shipper.is_idle)
    assert ledger.state.lost == 1
    assert len(set_aside_entries(tmp_path)) == 1


def test_an_exception_does_not_end_the_shipper_thread(make, store, caplog):
    store.error = ZeroDivisionError("a bug")
    ledger = make()
    finish_requests(ledger, 3)
    eventually(lambda: "usage-shipper failed" in caplog.text)
    store.error = None
    eventually(lambda: len(store.rows) == 3)


def test_chores_run_at_their_interval_and_may_fail(make, monkeypatch, caplog):
    done = SimpleNamespace(often=0, once=0, failing=0)

    def count(name):
        setattr(done, name, getattr(done, name) + 1)
        if name == "failing":
            raise Unavailable("away")

    chores = [
        Chore(0.0, lambda: count("failing")),
        Chore(0.0, lambda: count("often")),
        Chore(60, lambda: count("once")),
    ]
    ledger = make(chores=chores)
    for _ in range(3):
        before = done.often
        finish_requests(ledger)
        eventually(lambda before=before: done.often > before)
    assert done.once == 1
    assert done.failing >= 3
    assert "a job of the usage ledger's database failed: away" in caplog.text


def test_writer_names_are_distinct():
    assert len({Ledger.new_writer() for _ in range(1000)}) == 1000


def test_shipping_resumes_after_the_last_inserted_portion(store, tmp_path):
    spool = Spool(str(tmp_path / "spool"), "dead", 2**20)
    spool.prepare()
    segment = spool.new()
    segment.append([row(n) for n in range(2500)])
    shipper = Shipper(store, spool, [])
    fails = iter([None, Unavailable("away"), None, None])
    real = store.insert

    def insert(rows):
        if (error := next(fails)) is not None:
            raise error
        real(rows)

    store.insert = insert
    shipper.start()
    shipper.give(segment)
    eventually(lambda: len(store.rows) == 2500)
    assert store.batches == [1000, 1000, 500]
    shipper.stop(5)
