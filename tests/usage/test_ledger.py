"""The ledger: each row once, whatever the database does meanwhile, and never in anybody's way."""

import json
import logging
import threading
from types import SimpleNamespace

import pytest

from app.database.columns import COLUMNS
from app.database.engine import Unavailable
from app.errors import Unauthorized
from app.usage import ledger as ledgers
from app.usage import shipper as shippers
from app.usage.ledger import Ledger
from app.usage.record import Recorder
from app.usage.shipper import Chore, Shipper
from app.usage.spool import Spool
from tests.support.server import eventually
from tests.usage.conftest import exchange, row
from tests.usage.fake_store import FakeStore
from tests.usage.test_record import MODELS


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(ledgers, "_TICK", 0.01)
    monkeypatch.setattr(ledgers, "_SHIP", 0.02)
    monkeypatch.setattr(ledgers, "SHUTDOWN_TIMEOUT_S", 1.0)
    monkeypatch.setattr(shippers, "_LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(shippers, "_ORPHANS", 0.05)


@pytest.fixture
def store():
    return FakeStore()


@pytest.fixture
def make(tmp_path, store):
    """Makes ledgers over one spool, and closes them."""
    made = []

    def of(most_bytes=2**20, chores=(), start=True):
        writer = Ledger.new_writer()
        spool = Spool(str(tmp_path / "spool"), writer, most_bytes)
        shipper = Shipper(store, spool, list(chores))
        ledger = Ledger(Recorder(MODELS), spool, shipper, writer)
        made.append(ledger)
        if start:
            ledger.start()
        return ledger

    yield of
    store.hold.set()
    for ledger in made:
        if ledger._thread.is_alive():
            ledger.close()


def ask(ledger, number=1, **fields):
    for _ in range(number):
        ledger.finished(exchange(**fields), 200)


def files(tmp_path):
    return list((tmp_path / "spool").glob("*"))


def aside(tmp_path):
    """The entries of the file with rows that were refused."""
    (path,) = (tmp_path / "spool").glob("*.refused")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_request_is_one_row_and_the_spool_is_empty_again(make, store, tmp_path):
    ledger = make()
    ledger.started(exchange(), {})
    ask(ledger, 50)
    ask(ledger, 5, path="/v1/models", method="GET")
    eventually(lambda: len(store.rows) == 50)
    eventually(lambda: not files(tmp_path))
    state = ledger.state
    assert (state.recorded, state.written, state.lost, state.queued) == (50, 50, 0, 0)
    assert (state.spooled_bytes, state.database_up) == (0, True)


def test_many_threads_number_their_rows_apart(make, store):
    ledger = make()
    threads = [threading.Thread(target=ask, args=(ledger, 500)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: len(store.rows) == 4000)


def test_close_writes_what_there_is(make, store, monkeypatch):
    monkeypatch.setattr(ledgers, "_TICK", 60)
    ledger = make()
    ask(ledger, 2500)
    ledger.close()
    ledger.close()  # once is enough
    assert len(store.rows) == 2500
    assert max(store.batches) == 1000


def test_a_database_that_is_away_gets_everything_later_once(make, store, tmp_path, caplog):
    caplog.set_level(logging.INFO, "app.usage")
    store.error = Unavailable("connection refused")
    ledger = make()
    ask(ledger, 10)
    eventually(lambda: not ledger.state.database_up)
    ask(ledger, 10)
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


def test_what_a_stopped_process_could_not_write_the_next_one_does(make, store, tmp_path):
    store.error = Unavailable("connection refused")
    first = make()
    ask(first, 10)
    first.close()
    assert store.rows == {}
    assert files(tmp_path)
    store.error = None
    make()
    eventually(lambda: len(store.rows) == 10)
    eventually(lambda: not files(tmp_path))


def test_a_database_that_hangs_holds_nobody_up(make, store, tmp_path):
    ledger = make()
    store.hold.clear()
    ask(ledger, 10)
    eventually(lambda: not ledger._shipper.idle)
    ask(ledger, 10)
    eventually(lambda: ledger.state.queued == 0, what="the spool takes them")
    ledger.close()
    assert len(files(tmp_path)) == 2
    store.hold.set()


def test_a_row_that_is_refused_takes_no_other_with_it(make, store, tmp_path, caplog):
    ledger = make()
    ask(ledger, 5)
    ask(ledger, 1, user="bad")
    ask(ledger, 5)
    eventually(lambda: len(store.rows) == 10)
    eventually(lambda: ledger.state.lost == 1)
    # What is refused is lost, and not written too.
    eventually(lambda: ledger._shipper.idle and ledger.state.spooled_bytes == 0)
    assert ledger.state.written == 10
    assert "set aside 1 rows: no such character" in caplog.text
    (entry,) = aside(tmp_path)
    assert entry["reason"] == "no such character"
    assert entry["row"][COLUMNS.index("user")] == "bad"


def test_a_full_spool_keeps_rows_in_memory_and_then_drops_the_newest(
    make, store, caplog, monkeypatch
):
    monkeypatch.setattr(ledgers, "MAX_ROWS_IN_MEMORY", 10)
    store.error = Unavailable("away")
    ledger = make(most_bytes=10)
    ask(ledger)
    eventually(lambda: ledger.state.spooled_bytes > 10)
    for _ in range(3):
        ask(ledger, 5)
        eventually(lambda: not ledger._queue)
    assert (ledger.state.recorded, ledger.state.queued, ledger.state.lost) == (16, 10, 5)
    assert caplog.text.count("drops the newest rows") == 1
    store.error = None
    eventually(lambda: len(store.rows) == 11)
    assert sorted(number for _, number in store.rows) == list(range(1, 12))
    eventually(lambda: ledger.state.written + ledger.state.lost == ledger.state.recorded)


def test_a_spool_that_cannot_be_written_keeps_rows_in_memory_for_a_while(
    make, store, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(ledgers, "MAX_ROWS_IN_MEMORY", 100)
    (tmp_path / "spool").write_text("a file in its place")
    ledger = make()
    ask(ledger, 20)
    eventually(lambda: "cannot write its spool" in caplog.text)
    ask(ledger, 5)
    (tmp_path / "spool").unlink()
    eventually(lambda: len(store.rows) == 25)
    eventually(lambda: not list((tmp_path / "spool").iterdir()))
    (tmp_path / "spool").rmdir()
    (tmp_path / "spool").write_text("again")
    for _ in range(3):
        ask(ledger, 60)
        eventually(lambda: not ledger._queue)
    state = ledger.state
    assert (state.recorded, state.queued, state.lost) == (205, 100, 80)


def test_a_full_queue_is_logged_once_an_episode(make, monkeypatch, caplog):
    monkeypatch.setattr(ledgers, "MAX_ROWS_IN_MEMORY", 100)
    ledger = make(start=False)
    ask(ledger, 150)
    state = ledger.state
    assert (state.recorded, state.queued, state.lost) == (150, 100, 50)
    assert caplog.text.count("drops the newest rows") == 1
    ledger._empty_queue()
    ask(ledger, 101)
    assert caplog.text.count("drops the newest rows") == 2


def test_the_thread_outlives_a_row_that_cannot_be_written(make, store, tmp_path, caplog):
    ledger = make()
    rows = iter([row(1, prompt_tokens=2**70), row(2, user="\ud800"), row(3)])
    ledger._recorder = SimpleNamespace(row=lambda *_: next(rows))
    ask(ledger, 3)
    eventually(lambda: len(store.rows) == 1)
    state = ledger.state
    assert (state.recorded, state.lost, state.queued) == (3, 2, 0)
    assert len(aside(tmp_path)) == 2
    assert "set aside 2 rows" in caplog.text


def test_the_thread_outlives_a_bug_of_its_own(make, store, monkeypatch, caplog):
    ledger = make(start=False)
    real, calls = ledger._empty_queue, iter([ZeroDivisionError("a bug")])

    def empty():
        for error in calls:
            raise error
        real()

    monkeypatch.setattr(ledger, "_empty_queue", empty)
    ledger.start()
    ask(ledger, 3)
    eventually(lambda: len(store.rows) == 3)
    assert "the usage ledger met a bug" in caplog.text


def test_requests_without_a_valid_key_leave_no_row(make, store):
    ledger = make()
    ask(ledger, 5, caller=None, error=Unauthorized("no key"))
    ask(ledger, 1)
    eventually(lambda: len(store.rows) == 1)
    assert ledger.state.recorded == 1


def test_a_line_of_the_spool_that_is_no_row_is_set_aside(make, store, tmp_path):
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
    assert aside(tmp_path)[0]["line"] == '["w", {"a": 1}]'


def test_a_bug_does_not_end_the_ledger(make, store, caplog):
    store.error = ZeroDivisionError("a bug")
    ledger = make()
    ask(ledger, 3)
    eventually(lambda: "met a bug" in caplog.text)
    store.error = None
    eventually(lambda: len(store.rows) == 3)


def test_chores_are_done_now_and_then_and_may_fail(make, monkeypatch, caplog):
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
        ask(ledger)
        eventually(lambda before=before: done.often > before)
    assert done.once == 1
    assert done.failing >= 3
    assert "could not tidy up: away" in caplog.text


def test_no_two_processes_have_one_name():
    assert len({Ledger.new_writer() for _ in range(1000)}) == 1000


def test_rows_of_the_dead_are_shipped_in_portions_from_where_they_were(store, tmp_path):
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
