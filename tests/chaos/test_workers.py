"""Workers that die, and workers that are replaced, behind nginx and under load."""

import os
import signal
import time

from tests.chaos.books import Difference
from tests.chaos.callers import TOKENS_OF_A_TEXT
from tests.chaos.stack import SECONDS
from tests.support.server import eventually


def assert_no_row_is_lost(books: Difference, in_flight: int) -> None:
    """Each answer has its row; the rest is of requests that were in flight in killed workers."""
    assert books.missing == frozenset()
    assert books.wrong_status == 0
    assert books.unanswered + books.repeated <= in_flight
    assert 0 <= books.unbilled <= in_flight * TOKENS_OF_A_TEXT


def test_a_worker_is_killed_each_second(stack, note):
    """One that serves, where a start takes longer than a second somewhat less often.

    Every request in flight in a worker that dies is asked again by nginx, of another one.

    It cannot be none for certain: of an answer larger than the buffers of a connection a part is
    through, and nobody can take that back. Small answers leave in one write.

    What a worker held in flight when it was killed was asked twice of the provider, and a request
    whose row was written just before has two.
    """
    running = stack(workers=2)
    kills = answered = 0
    with running.callers() as load:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            time.sleep(1)
            # The older one, and after answers: else all that dies is a worker that only starts.
            eventually(lambda n=answered: load.answered >= n + load.clients, 60)
            answered = load.answered
            os.kill(running.proxy.workers()[0], signal.SIGKILL)
            kills += 1
        answered = load.answered
        eventually(lambda: load.answered > answered + 100, 60)
    books = running.books.compare()
    note(kills=kills, seconds=SECONDS, **load.seen(), **books.noted())
    assert load.refused == 0
    assert len(load.lost) <= 1 + kills // 30, load.lost
    assert_no_row_is_lost(books, kills * load.clients)


def test_all_workers_are_killed_at_once(stack, note):
    running = stack(workers=2)
    rounds = max(2, int(SECONDS // 12))
    with running.callers() as load:
        for _ in range(rounds):
            answered = load.answered
            eventually(lambda answered=answered: load.answered > answered + 200, 20)
            eventually(lambda: len(running.proxy.workers()) == 2, 20)
            for pid in running.proxy.workers():
                os.kill(pid, signal.SIGKILL)
        answered = load.answered
        eventually(lambda: load.answered > answered + 200, 20)
    books = running.books.compare()
    note(rounds=rounds, **load.seen(), **books.noted())
    assert len(load.lost) <= 1, load.lost
    assert_no_row_is_lost(books, rounds * load.clients)


def test_hup_each_two_seconds(stack, note):
    running = stack(workers=2)
    before = set(running.proxy.workers())
    hups = 0
    with running.callers() as load:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            running.proxy.process.send_signal(signal.SIGHUP)
            hups += 1
            time.sleep(2)
    taken, before_that = running.proxy.stderr().count("Handling signal: hup"), -1
    while taken != before_that:  # gunicorn takes one after the other; five may wait
        time.sleep(10)
        taken, before_that = running.proxy.stderr().count("Handling signal: hup"), taken
    eventually(lambda: len(running.proxy.workers()) == 2, 30, "as many workers as before")
    assert not before & set(running.proxy.workers())
    books = running.books.compare()
    note(hups=hups, taken=taken, seconds=SECONDS, **load.seen(), **books.noted())
    assert load.lost == []
    assert load.refused == 0
    assert books.differences() == {}
    assert load.answered > 10 * hups
