"""The shipper inserts each row of the spool once, also after outages."""

from types import SimpleNamespace

from app.database.engine import Unavailable
from app.usage.ledger import shipper as shippers
from app.usage.ledger.ledger import Ledger
from app.usage.ledger.segment import encode_row, new_segment
from app.usage.ledger.shipper import Chore, Shipper
from app.usage.ledger.spool import Spool
from tests.support.server import eventually
from tests.usage.conftest import row
from tests.usage.ledger.ledgers import finish_requests, set_aside_entries


def dead_journal(directory):
    """Leave a journal with a row, as a worker does that is killed."""
    directory.mkdir(mode=0o700, exist_ok=True)
    segment = new_segment(directory, "dead-journal-0")
    segment.append([row(1)])
    segment.release()


def test_journals_that_cannot_be_taken_over_wait_for_the_next_interval(
    fake_store, tmp_path, monkeypatch
):
    monkeypatch.setattr(shippers, "ORPHAN_INTERVAL_S", 60)
    dead_journal(tmp_path / "memory")
    (tmp_path / "spool").write_text("no directory: it cannot be written")
    spool = Spool(str(tmp_path / "spool"), "new", 2**20, tmp_path / "memory")
    shipper = Shipper(fake_store, spool, [])
    real, searches = spool.take_over_journals, []
    monkeypatch.setattr(spool, "take_over_journals", lambda: (searches.append(1), real()))
    for _ in range(5):
        assert shipper._run() == shippers.IDLE_INTERVAL_S
    assert len(searches) == 1
    shipper.stop(1)


def test_journals_are_taken_over_while_a_segment_waits_for_the_database(fake_store, tmp_path):
    spool = Spool(str(tmp_path / "spool"), "new", 2**20, tmp_path / "memory")
    spool.prepare()
    waiting = spool.new()
    waiting.append([row(2)])
    shipper = Shipper(fake_store, spool, [])
    fake_store.error = Unavailable("away")
    shipper.give(waiting)
    shipper.start()
    eventually(lambda: not shipper.is_database_up)
    dead_journal(tmp_path / "memory")
    eventually(lambda: not list((tmp_path / "memory").iterdir()))
    assert fake_store.rows == {}
    fake_store.error = None
    eventually(lambda: sorted(number for _, number in fake_store.rows) == [1, 2])
    shipper.stop(5)


def test_an_invalid_line_is_set_aside_once_after_an_outage(make_ledger, fake_store, tmp_path):
    spool = Spool(str(tmp_path / "spool"), "dead", 2**20)
    spool.prepare()
    segment = spool.new()
    segment.append_lines(b"no row\n" + encode_row(row(1)))
    segment.release()
    fails = iter([Unavailable("away")] * 3)
    real = fake_store.insert

    def insert(rows):
        for error in fails:
            raise error
        real(rows)

    fake_store.insert = insert
    ledger = make_ledger()
    eventually(lambda: len(fake_store.rows) == 1)
    eventually(lambda: ledger.state.lost == 1 and ledger._shipper.is_idle)
    assert ledger.state.lost == 1
    assert len(set_aside_entries(tmp_path)) == 1


def test_an_exception_does_not_end_the_shipper_thread(make_ledger, fake_store, caplog):
    fake_store.error = ZeroDivisionError("a bug")
    ledger = make_ledger()
    finish_requests(ledger, 3)
    eventually(lambda: "usage-shipper failed" in caplog.text)
    fake_store.error = None
    eventually(lambda: len(fake_store.rows) == 3)


def test_chores_run_at_their_interval_and_may_fail(make_ledger, monkeypatch, caplog):
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
    ledger = make_ledger(chores=chores)
    for _ in range(3):
        before = done.often
        finish_requests(ledger)
        eventually(lambda before=before: done.often > before)
    assert done.once == 1
    assert done.failing >= 3
    assert "a job of the usage ledger's database failed: away" in caplog.text


def test_writer_names_are_distinct():
    assert len({Ledger.new_writer() for _ in range(1000)}) == 1000


def test_shipping_resumes_after_the_last_inserted_portion(fake_store, tmp_path):
    spool = Spool(str(tmp_path / "spool"), "dead", 2**20)
    spool.prepare()
    segment = spool.new()
    segment.append([row(n) for n in range(2500)])
    shipper = Shipper(fake_store, spool, [])
    fails = iter([None, Unavailable("away"), None, None])
    real = fake_store.insert

    def insert(rows):
        if (error := next(fails)) is not None:
            raise error
        real(rows)

    fake_store.insert = insert
    shipper.start()
    shipper.give(segment)
    eventually(lambda: len(fake_store.rows) == 2500)
    assert fake_store.batches == [1000, 1000, 500]
    shipper.stop(5)


def test_invalid_line_of_the_spool_is_set_aside(make_ledger, fake_store, tmp_path):
    spool = Spool(str(tmp_path / "spool"), "dead", 2**20)
    spool.prepare()
    segment = spool.new()
    segment.append([row(1)])
    with segment.path.open("ab") as file:
        file.write(b'["w", {"a": 1}]\n["cut off')
    segment.release()
    ledger = make_ledger()
    eventually(lambda: len(fake_store.rows) == 1)
    eventually(lambda: ledger.state.lost == 1)
    assert set_aside_entries(tmp_path)[0]["line"] == '["w", {"a": 1}]'
