"""`PeriodicTask` in a thread of its own, or a greenlet: start, wake and stop."""

import subprocess
import sys
import threading

import pytest

from app.concurrency.periodic import PeriodicTask
from tests.support.server import eventually


def test_wake_runs_the_task_at_once_and_stop_ends_the_thread():
    ran = threading.Semaphore(0)
    task = PeriodicTask("test", ran.release, 3600)
    task.start()
    task.start()  # does nothing
    assert ran.acquire(timeout=20)
    task.wake()
    assert ran.acquire(timeout=20)
    assert task.stop(20)
    assert task.runs == 2
    task.start()  # nor after the end
    assert not ran.acquire(blocking=False)


def test_stop_waits_at_most_its_timeout():
    hold, begun = threading.Event(), threading.Event()

    def step():
        begun.set()
        hold.wait(60)

    task = PeriodicTask("test", step, 1)
    task.start()
    assert begun.wait(20)
    assert not task.stop(0.01)
    hold.set()
    eventually(lambda: task.stop(0.1))


def test_a_task_may_stop_itself():
    ran = threading.Semaphore(0)

    def step():
        assert task.stop(20)
        ran.release()

    task = PeriodicTask("test", step, 0.01)
    task.start()
    assert ran.acquire(timeout=20)
    assert task.stop(20)
    assert task.runs == 1


def test_start_after_a_failed_thread_start_tries_again(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    task = PeriodicTask("test", lambda: None, 3600)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            task.start()
    assert not task.is_started
    task.start()
    assert task.stop(20)


@pytest.mark.parametrize("imported_first", [False, True])
def test_under_gevent_the_task_is_a_greenlet(imported_first):
    program = """
IMPORT
from gevent import monkey; monkey.patch_all()
import gevent, threading
from app.concurrency.periodic import PeriodicTask
ran = []
task = PeriodicTask("test", lambda: ran.append(gevent.getcurrent()), 3600)
task.start()
while not ran: gevent.sleep(0.001)
task.wake()
while len(ran) < 2: gevent.sleep(0.001)
assert task.stop(20)
assert ran[0] is ran[1] is not gevent.getcurrent()
print("done")
"""
    first = "import app.concurrency.periodic" if imported_first else ""
    found = subprocess.run(
        [sys.executable, "-c", program.replace("IMPORT", first)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert found.stdout == "done\n"
