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
        assert go.wait(5)
        return "token", float("inf")

    credential = Refreshing(fetch)
    got = []
    threads = [threading.Thread(target=lambda: got.append(credential.get())) for _ in range(8)]
    threads[0].start()
    assert begun.wait(5)
    for thread in threads[1:]:
        thread.start()
    go.set()
    for thread in threads:
        thread.join(5)
    assert got == ["token"] * 8
    assert len(fetches) == 1


def test_waiting_callers_are_woken_if_the_fetch_fails():
    """Also by a `BaseException`: a killed greenlet."""
    begun, go = threading.Event(), threading.Event()

    def fetch():
        begun.set()
        assert go.wait(5)
        raise SystemExit

    credential = Refreshing(fetch)

    def killed():
        with pytest.raises(ProviderUnavailable):
            credential.get()

    first = threading.Thread(target=killed)
    first.start()
    assert begun.wait(5)
    errors = []

    def second():
        with pytest.raises(ProviderUnavailable) as error:
            credential.get()
        errors.append(error.value.message)

    other = threading.Thread(target=second)
    other.start()
    go.set()
    first.join(5)
    other.join(5)
    assert errors == ["gave us no credentials"]


def test_wait_for_credentials_is_bounded(monkeypatch):
    monkeypatch.setattr("app.providers.credentials.refreshing.MAX_WAIT_S", 0.01)
    go = threading.Event()
    begun = threading.Event()

    def fetch():
        begun.set()
        go.wait(5)
        return "token", float("inf")

    credential = Refreshing(fetch)
    for _ in range(2):
        with pytest.raises(ProviderUnavailable, match="in time"):
            credential.get()
    assert begun.wait(5)
    monkeypatch.setattr("app.providers.credentials.refreshing.MAX_WAIT_S", 5.0)
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
    assert replaced.wait(5)
    for thread in threading.enumerate():
        if thread.name == "credentials":
            thread.join(5)
    assert credential.get() == "new"


GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent, time
from app.providers.credentials.refreshing import Refreshing
fetches = []
def fetch():
    fetches.append(1)
    time.sleep(0.3)
    return "token", time.time() + (1.2 if len(fetches) == 1 else 60)
credential = Refreshing(fetch)
jobs = [gevent.spawn(credential.get) for _ in range(50)]
gevent.joinall(jobs, raise_error=True)
assert {j.value for j in jobs} == {"token"} and len(fetches) == 1, fetches
time.sleep(0.7)
began = time.perf_counter()
credential.get()
assert time.perf_counter() - began < 0.25, "it waited"
time.sleep(0.6)
assert len(fetches) == 2
"""


def test_greenlets_behave_like_threads():
    done = subprocess.run([sys.executable, "-c", GEVENT], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
