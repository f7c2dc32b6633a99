"""A function starts at once under gevent, and in a thread of its own without it."""

import subprocess
import sys
import threading

from app.concurrency.threads import start_now
from tests.support.server import ROOT

UNDER_GEVENT = """
from gevent import monkey
monkey.patch_all()
import threading, time, gevent
from app.concurrency.threads import start_now
seen, may_end = [], threading.Event()

def call(name):
    seen.append(name + " starts")
    may_end.wait()
    seen.append(name + " ends")

def caller():
    gevent.spawn(seen.append, "ready")
    start_now(call, ("call",))
    seen.append("caller")

def ended():
    gevent.get_hub().loop.run_callback(gevent.getcurrent().throw, ValueError())
    try:
        start_now(call, ("second",))
    except ValueError:
        time.sleep(0.005)  # no second switch back ends it at once
        seen.append("ended")

gevent.spawn(caller).join()
gevent.spawn(ended).join()
may_end.set()
while len(seen) < 7: gevent.sleep(0.001)
print(", ".join(seen))
"""


def test_greenlet_runs_before_what_was_ready():
    done = subprocess.run(
        [sys.executable, "-c", UNDER_GEVENT], cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert done.stdout.decode().strip().split(", ") == [
        *("call starts", "ready", "caller"),
        *("second starts", "ended", "call ends", "second ends"),
    ], done.stderr.decode()


def test_thread_runs():
    ran = threading.Event()
    start_now(ran.set, ())
    assert ran.wait(20)
