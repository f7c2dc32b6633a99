"""Blocking functions in native threads, under gevent and without it."""

import subprocess
import sys
import threading

import pytest

from app.concurrency import threads
from app.concurrency.threads import NativeThreads, NoThread
from tests.support.server import ROOT

#: Many greenlets share two native threads, which the interpreter switches as often as it can.
UNDER_GEVENT = """
from gevent import monkey
monkey.patch_all()
import sys, threading, gevent
from app.concurrency.threads import NativeThreads
sys.setswitchinterval(1e-6)
threads, main = NativeThreads(2), threading.get_native_id()

def ask():
    for i in range(500):
        assert threads.run(lambda: (i, threading.get_native_id() == main)) == (i, False)

gevent.joinall([gevent.spawn(ask) for _ in range(16)], raise_error=True)
print("done")
"""

#: A call ends while a greenlet has begun to wait for its thread, and has not yet gone on to wait.
ENDS_AT_THE_BEGINNING_OF_A_WAIT = """
from gevent import monkey
monkey.patch_all()
import gevent
from app.concurrency.threads import NativeThreads
native_sleep = monkey.get_original("time", "sleep")
hold = monkey.get_original("_thread", "allocate_lock")()
hold.acquire()
threads, loop = NativeThreads(1), gevent.get_hub().loop

def end_first():
    hold.release()
    native_sleep(0.1)  # so long that gevent polls before it runs all that is ready

first = gevent.spawn(threads.run, hold.acquire, 20)
gevent.sleep(0.05)
loop.run_callback(end_first)
for _ in range(60):  # more than gevent runs before it looks at the time
    loop.run_callback(lambda: None)
second = gevent.spawn(threads.run, lambda: 7, 20)  # begins between the end and what follows it
assert (first.get(), second.get()) == (True, 7)
print("done")
"""

#: gevent keeps a call in the queue of its pool where the thread for it cannot be started.
A_CALL_HAS_NO_THREAD = """
from gevent import monkey
monkey.patch_all()
from gevent import threadpool
from app.concurrency.threads import NativeThreads, NoThread
threads, made, start = NativeThreads(1), [], threadpool.start_new_thread

def refuse(*_):
    raise RuntimeError("can't start new thread")

threadpool.start_new_thread = refuse
try:
    threads.run(lambda: made.append(1), 20)
except NoThread:
    threadpool.start_new_thread = start
assert threads.run(lambda: 7, 20) == 7
assert not made, "it was made although its caller went on without it"
print("done")
"""


@pytest.mark.parametrize(
    "program", [UNDER_GEVENT, ENDS_AT_THE_BEGINNING_OF_A_WAIT, A_CALL_HAS_NO_THREAD]
)
def test_native_threads_are_shared_under_gevent(program):
    """Neither a native thread nor gevent's hub waits for a lock that gevent has replaced."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert done.stdout == b"done\n", done.stderr.decode()


def test_many_threads_share_native_threads():
    native, results = NativeThreads(2), []
    callers = [
        threading.Thread(target=lambda i=i: results.append(native.run(lambda: i)))
        for i in range(50)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(20)
    assert sorted(results) == list(range(50))


def test_errors_are_raised_and_free_the_thread():
    native = NativeThreads(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            native.run(lambda: 1 // 0)
    assert native.run(lambda: 7) == 7


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
def test_thread_that_cannot_be_started_is_not_counted_as_busy(error, monkeypatch):
    class NoThreads:
        @staticmethod
        def start_new_thread(*_):
            raise error("can't start new thread")

    native = NativeThreads(1)
    with monkeypatch.context() as patch:
        patch.setattr(threads, "_thread", NoThreads)
        for _ in range(3):
            with pytest.raises(NoThread):
                native.run(lambda: 1, 1)
    assert native.run(lambda: 2, 20) == 2


def test_functions_get_a_thread_in_the_order_of_their_callers():
    """A caller that stopped waiting now and then would begin again behind all others."""
    waits = []

    class Free(threading.BoundedSemaphore):
        def acquire(self, blocking=True, timeout=None):
            waits.append(timeout)
            return super().acquire(blocking, timeout)

    shared = NativeThreads(1)
    shared._free = Free(1)
    assert shared.run(lambda: 7, 60) == 7
    assert waits == [pytest.approx(60, abs=30)]


def test_a_function_that_hangs_keeps_its_thread():
    native, end = NativeThreads(1), threading.Event()
    with pytest.raises(TimeoutError, match="took too long"):
        native.run(end.wait, 0.05)
    with pytest.raises(TimeoutError, match="every thread is busy"):
        native.run(lambda: 1, 0.05)
    end.set()
    assert native.run(lambda: 2, 20) == 2
