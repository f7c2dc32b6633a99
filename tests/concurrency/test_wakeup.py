"""A wakeup ends one wait; none is lost and none is kept twice."""

import threading
import time

from app.concurrency.wakeup import Wakeup


def test_a_set_before_the_wait_is_not_lost():
    wakeup = Wakeup()
    wakeup.set()
    assert wakeup.wait(0)


def test_a_set_ends_one_wait_only():
    wakeup = Wakeup()
    wakeup.set()
    wakeup.set()
    assert wakeup.wait(0)
    assert not wakeup.wait(0)


def test_without_a_set_the_time_ends_the_wait():
    wakeup = Wakeup()
    start = time.monotonic()
    assert not wakeup.wait(0.02)
    assert time.monotonic() - start >= 0.015


def test_a_time_that_has_passed_is_no_wait():
    assert not Wakeup().wait(-5.0)


def test_a_set_from_another_thread_ends_a_wait_without_a_time():
    wakeup, woken = Wakeup(), threading.Event()

    def wait():
        assert wakeup.wait(float("inf"))
        woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    wakeup.set()
    thread.join(5)
    assert woken.is_set()
