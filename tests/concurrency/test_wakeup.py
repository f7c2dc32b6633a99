"""A wakeup ends exactly one wait, also one that begins later."""

import threading
import time

from app.concurrency.locks import Wakeup


def test_set_before_the_wait_ends_the_wait():
    wakeup = Wakeup()
    wakeup.set()
    assert wakeup.wait(0)


def test_set_ends_only_one_wait():
    wakeup = Wakeup()
    wakeup.set()
    wakeup.set()
    assert wakeup.wait(0)
    assert not wakeup.wait(0)


def test_wait_without_set_times_out():
    wakeup = Wakeup()
    start = time.monotonic()
    assert not wakeup.wait(0.02)
    assert time.monotonic() - start >= 0.015


def test_wait_with_a_past_time_returns_at_once():
    assert not Wakeup().wait(-5.0)


def test_set_from_another_thread_ends_a_wait_without_timeout():
    wakeup, woken = Wakeup(), threading.Event()

    def wait():
        assert wakeup.wait(float("inf"))
        woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    wakeup.set()
    thread.join(20)
    assert woken.is_set()
