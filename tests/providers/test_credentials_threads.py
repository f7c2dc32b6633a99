"""Credentials that expire, used concurrently by threads and greenlets."""

import subprocess
import sys
import threading

import pytest

from app.errors import ProviderUnavailable
from app.providers.credentials.refreshing import Refreshing


def test_concurrent_callers_cause_one_fetch():
    begun, go = threading.Event(), threading.Event()
    fetches = []

    def fetch():
        fetches.append(1)
        begun.set()
        assert go.wait(20)
        return "token", float("inf")

    credential = Refreshing(fetch)
    got = []
    threads = [threading.Thread(target=lambda: got.append(credential.get())) for _ in range(8)]
    threads[0].start()
    assert begun.wait(20)
    for thread in threads[1:]:
        thread.start()
    go.set()
    for thread in threads:
        thread.join(20)
    assert got == ["token"] * 8
    assert len(fetches) == 1


def test_waiting_callers_are_woken_if_the_fetch_fails():
    """Also by a `BaseException`: a killed greenlet."""
    begun, go = threading.Event(), threading.Event()

    def fetch():
        begun.set()
        assert go.wait(20)
        raise SystemExit

    credential = Refreshing(fetch)

    def killed():
        with pytest.raises(ProviderUnavailable):
            credential.get()

    first = threading.Thread(target=killed)
    first.start()
    assert begun.wait(20)
    errors = []

    def second():
        with pytest.raises(ProviderUnavailable) as error:
            credential.get()
        errors.append(error.value.message)

    other = threading.Thread(target=second)
    other.start()
    go.set()
    first.join(20)
    other.join(20)
    assert errors == ["gave us no credentials"]


def test_wait_for_credentials_is_bounded(monkeypatch):
    monkeypatch.setattr("app.providers.credentials.refreshing.MAX_WAIT_S", 0.01)
    go = threading.Event()
    begun = threading.Event()

    def fetch():
        begun.set()
        go.wait(20)
        return "token", float("inf")

    credential = Refreshing(fetch)
    for _ in range(2):
        with pytest.raises(ProviderUnavailable, match="in time"):
            credential.get()
    assert begun.wait(20)
    monkeypatch.setattr("app.providers.credentials.refreshing.MAX_WAIT_S", 20.0)
    go.set()
    assert credential.get() == "token"


def test_no_lock_is_held_during_a_fetch():
    def fetch():
        assert credential._lock.acquire(timeout=1)
        credential._lock.release()
        return "token", float("inf")

    credential = Refreshing(fetch)
    assert credential.get() == "token"


def test_thread_replaces_the_token():
    replaced = threading.Event()
    tokens = iter([("old", 1000.0), ("new", 9000.0)])
    now = [0.0]

    def fetch():
        token = next(tokens)
        if token[0] == "new":
            replaced.set()
        return token

    credential = Refreshing(fetch, clock=lambda: now[0])
    assert credential.get() == "old"
    now[0] = 990.0
    assert credential.get() == "old"
    assert replaced.wait(20)
    for thread in threading.enumerate():
        if thread.name == "credentials":
            thread.join(20)
    assert credential.get() == "new"


GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent, threading
from app.providers.credentials.refreshing import Refreshing
now, fetches, may_end = [0.0], [], threading.Semaphore(0)
def fetch():
    fetches.append(1)
    number = len(fetches)
    assert may_end.acquire(timeout=20)
    return f"token-{number}", 1000.0 * number
credential = Refreshing(fetch, clock=lambda: now[0], monotonic=lambda: now[0])
jobs = [gevent.spawn(credential.get) for _ in range(50)]
while not fetches: gevent.sleep(0.001)
may_end.release()
gevent.joinall(jobs, raise_error=True)
assert {job.value for job in jobs} == {"token-1"} and len(fetches) == 1, fetches
now[0] = 990.0
with gevent.Timeout(20):
    assert credential.get() == "token-1"  # at once, while another greenlet fetches the next
    while len(fetches) < 2: gevent.sleep(0.001)
    assert credential.get() == "token-1"
    may_end.release()
    while credential.get() != "token-2": gevent.sleep(0.001)
assert len(fetches) == 2
"""


def test_greenlets_behave_like_threads():
    done = subprocess.run([sys.executable, "-c", GEVENT], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
