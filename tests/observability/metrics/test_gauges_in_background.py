"""The gauges are read by one thread at a time: in the background, at a scrape and at the exit."""

import gc
import threading
import weakref

from app.concurrency.periodic import PeriodicTask
from app.observability.metrics.gauges import Gauges
from app.usage.ledger.ledger import LedgerState
from tests.observability.metrics.samples import values
from tests.support.server import eventually


def test_concurrent_reading_is_skipped(meter):
    gauges = Gauges(meter)
    seen = []
    gauges.ledger(lambda: seen.append(gauges.look()) or LedgerState(0, 0, 0, 0, 0, True))
    gauges.look()
    assert seen == [None]


def test_reading_ends_when_the_gauges_are_deleted(meter, monkeypatch):
    monkeypatch.setattr("app.observability.metrics.gauges.LOOK_INTERVAL_S", 0.001)
    at_exit = []
    monkeypatch.setattr("atexit.register", at_exit.append)
    gauges = Gauges(meter)
    looks = []
    gauges.ledger(lambda: looks.append(1) or LedgerState(0, 0, 0, 0, 0, True))
    gauges.keep_looking()
    eventually(lambda: len(looks) > 3)
    alive = weakref.ref(gauges)
    del gauges
    eventually(lambda: gc.collect() and alive() is None)
    seen = len(looks)
    at_exit[0]()
    assert len(looks) == seen


def test_gauges_are_read_at_process_exit(meter, monkeypatch):
    at_exit, looks = [], []
    monkeypatch.setattr("atexit.register", at_exit.append)
    monkeypatch.setattr("app.observability.metrics.gauges.PeriodicTask.start", lambda task: None)
    gauges = Gauges(meter)
    gauges.ledger(lambda: looks.append(1) or LedgerState(0, 0, 0, 0, 0, True))
    gauges.keep_looking()
    at_exit[0]()
    assert looks == [1]


def test_values_of_the_exit_are_read_after_a_reading_that_is_under_way(meter, files, monkeypatch):
    """A reading lets requests go on, so that the process may end in the middle of one."""
    at_exit, is_reading, may_end = [], threading.Event(), threading.Event()
    monkeypatch.setattr("atexit.register", at_exit.append)
    stop = PeriodicTask.stop

    def end_reading_and_stop(task, *args):
        may_end.set()
        return stop(task, *args)

    def read_slowly():
        is_reading.set()
        assert may_end.wait(20)

    monkeypatch.setattr(PeriodicTask, "stop", end_reading_and_stop)
    gauges, recorded = Gauges(meter), [1]
    gauges.ledger(lambda: LedgerState(recorded[0], 0, 0, 0, 0, True))
    gauges._looks.append(read_slowly)
    gauges.keep_looking()
    assert is_reading.wait(20)
    recorded[0] = 2
    at_exit[0]()
    may_end.set()
    assert values(files)["ledger_recorded_total"] == 2
