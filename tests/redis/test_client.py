"""`BestEffortClient`: bounded waits for a failing server, and calls again after its recovery."""

import logging
import socket
import threading
import time

import pytest

from app.redis import calls
from app.redis import client as client_module
from app.redis.circuit_breaker import FAILURES_TO_OPEN
from app.redis.client import BestEffortClient
from tests.redis.patience import PATIENT_S, leaving_after
from tests.redis.servers import DripsOnDemand, black_hole, drips, silent, talking
from tests.support.server import eventually, free_port
from tests.support.valkey import Valkey

TIMEOUT_S = 0.05
#: Seconds that a call with a timeout of 50 ms may take here: other processes use the cores too.
#: It would take twenty where it had no timeout of its own.
AT_MOST_S = PATIENT_S / 2
#: Seconds that the quickest of several first calls may take: a probe hangs for one or two.
AT_BEST_S = 0.5


def ping(client):
    return client.ping()


def timed(ask):
    start = time.monotonic()
    answer = ask()
    return answer, time.monotonic() - start


def assert_ready_keeps_the_timeout(make, url):
    """Wait for the first probe of a server that hangs; return a client of it.

    Other processes use the cores too, so that one of several clients must be quick.
    """
    for _ in range(5):
        client = make(url, TIMEOUT_S)
        is_ready, seconds = timed(client.ready)
        if seconds < AT_BEST_S:
            assert not is_ready
            return client
    raise AssertionError(f"the last one took {seconds} s")


def assert_is_not_asked(client):
    before = client.calls, client.skipped
    assert client.call(ping) is None
    assert (client.calls, client.skipped) == (before[0], before[1] + 1)


# Unavailable servers


def test_dead_server_is_not_called_until_it_is_back(make):
    with Valkey() as server:
        server.kill()
        client = make(server.url)
        assert not client.call(ping)  # no probe has been made, and it does not wait for one
        eventually(client.ready)
        assert client.breaker.is_open
        assert client.call(ping) is None
        assert (client.calls, client.skipped) == (0, 2)
        server.start()
        eventually(lambda: client.call(ping))


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
def test_server_is_asked_once_there_is_a_thread_for_the_background_task(make, error):
    def refuse(thread):
        raise error("can't start new thread")

    with Valkey() as server:
        client = make(server.url)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            assert not client.ready()
            assert client.call(ping) is None
            client.wake()
        assert client.ready()
        assert client.call(ping)


def test_first_call_to_a_killed_server_opens_the_breaker(make):
    with Valkey() as server:
        client = make(server.url)
        eventually(client.ready)
        assert client.call(ping)
        server.kill()
        answer, seconds = timed(lambda: client.call(ping))
        assert answer is None
        assert seconds < AT_MOST_S
        assert client.breaker.is_open
        server.start()
        eventually(lambda: client.call(ping))


def test_frozen_server_delays_only_a_few_calls(make):
    with Valkey() as server:
        client = make(server.url, TIMEOUT_S)
        eventually(client.ready)
        eventually(lambda: client.call(ping))
        server.freeze()
        made, skipped = client.calls, client.skipped
        asked = [timed(lambda: client.call(ping)) for _ in range(20)]
        assert all(answer is None for answer, _ in asked)
        assert max(seconds for _, seconds in asked) < AT_MOST_S
        assert client.calls == made + FAILURES_TO_OPEN
        assert client.skipped == skipped + 20 - FAILURES_TO_OPEN
        server.thaw()
        eventually(lambda: client.call(ping))


@pytest.mark.parametrize("talk", [silent, drips])
def test_incomplete_answers_cost_at_most_the_timeout(make, usual_steps, talk):
    with talking(talk) as port:
        client = assert_ready_keeps_the_timeout(make, f"redis://localhost:{port}")
        eventually(lambda: client.breaker.is_open)
        assert_is_not_asked(client)


def test_unreachable_server_costs_at_most_the_timeout(make, usual_steps):
    with black_hole() as port:
        client = assert_ready_keeps_the_timeout(make, f"redis://127.0.0.1:{port}")
        eventually(lambda: client.breaker.is_open)
        assert_is_not_asked(client)


def test_hanging_dns_costs_at_most_the_timeout(make, usual_steps, monkeypatch):
    hold = threading.Event()

    def hang(*_, **__):
        hold.wait(60)
        raise socket.gaierror("released")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        client = assert_ready_keeps_the_timeout(make, "redis://nowhere.invalid")
        eventually(lambda: client.breaker.is_open)
    finally:
        hold.set()


def test_connections_to_a_dripping_server_are_closed(make):
    talk = DripsOnDemand()
    with talking(talk) as port:
        client = make(f"redis://localhost:{port}", TIMEOUT_S)
        eventually(client.ready)
        eventually(lambda: client.call(ping))
        talk.is_dripping = True
        for _ in range(FAILURES_TO_OPEN):
            answer, seconds = timed(lambda: client.call(ping))
            assert answer is None
            assert seconds < AT_MOST_S
        assert client.breaker.is_open
        eventually(lambda: talk.closed >= FAILURES_TO_OPEN)
        talk.is_dripping = False
        eventually(lambda: client.call(ping))
        eventually(lambda: client._helpers.in_flight == 0)


def test_abandoned_calls_are_bounded_and_open_the_breaker(make, monkeypatch):
    talk = DripsOnDemand()
    monkeypatch.setattr(calls, "MAX_ABANDONED_CALLS", 2)
    monkeypatch.setattr(client_module, "MAX_ABANDONED_S", 0.1)
    with talking(talk) as port:
        client = make(f"redis://localhost:{port}")
        eventually(client.ready)

        def some_answers(redis, remaining_s):
            yield 1  # a call with some answers is not a failure, so nothing else opens the breaker
            yield redis.ping()

        talk.is_dripping = True
        with leaving_after(client, answers=1):
            assert [client.collect(some_answers) for _ in range(2)] == [[1], [1]]
        made = client.calls
        assert client.collect(some_answers) == []
        assert client.calls == made
        eventually(lambda: client.collect(some_answers) == [] and client.breaker.is_open)
        talk.is_dripping = False
        eventually(lambda: client.call(ping))


def test_bound_of_abandoned_calls_is_over_the_threshold_of_the_breaker():
    assert calls.MAX_ABANDONED_CALLS > 4 * FAILURES_TO_OPEN


# Background tasks


def test_chores_are_done_when_woken_and_at_the_end(make, valkey):
    done = []
    client = make(valkey.url, chores=lambda redis, is_due: done.append(is_due), round_s=3600)
    client.wake()
    eventually(lambda: done == [True])
    client.wake()
    eventually(lambda: done == [True, False])
    client.close()
    assert done == [True, False, False]


def test_chores_are_due_each_round(make, valkey):
    done = []
    client = make(valkey.url, chores=lambda redis, is_due: done.append(is_due), round_s=0.1)
    client.wake()
    eventually(lambda: done.count(True) == 3)


def test_failed_chores_are_failures_of_the_server(make, valkey):
    def fail(redis, is_due):
        raise OSError("broken")

    client = make(valkey.url, chores=fail)
    eventually(client.ready)
    eventually(lambda: client.wake() or client.breaker.is_open)


def test_an_outage_is_logged_once_without_secrets(make, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("app"), "propagate", True)
    with Valkey() as server:
        client = make(server.url.replace("//", "//:secret@"))
        server.kill()
        eventually(client.ready)
        for _ in range(5):
            assert client.call(ping) is None
        time.sleep(0.6)  # some probes
        texts = [record.getMessage() for record in caplog.records]
        assert len(texts) == 1
        assert texts[0].startswith(f"test: redis://127.0.0.1:{server.port}/0 is not asked until")
        assert "secret" not in caplog.text


def test_a_client_that_was_never_used_can_be_closed():
    BestEffortClient(f"redis://127.0.0.1:{free_port()}", TIMEOUT_S, "test").close()
