"""Calls in helper threads: answers in time, failures of the server, kept connections."""

import _thread
import subprocess
import sys
import threading

import pytest

from app.redis.circuit_breaker import FAILURES_TO_OPEN
from tests.redis.patience import PATIENT_S, leaving_after
from tests.support.server import eventually


def ping(client):
    return client.ping()


def test_answers_in_time_are_used(make, valkey):
    client = make(valkey.url)
    eventually(client.ready)
    left, ended, late = threading.Event(), threading.Event(), []

    def steps(redis, remaining_s):
        try:
            yield 1
            yield 2
            assert left.wait(PATIENT_S)
            yield 3
            late.append(4)
            yield 4
        finally:
            ended.set()

    with leaving_after(client, answers=2):
        assert client.collect(steps) == [1, 2]
    left.set()
    assert ended.wait(PATIENT_S)  # at the first answer after the timeout
    assert late == []
    assert (client.failures, client.breaker.is_open) == (0, False)
    eventually(lambda: client.call(ping))


def test_connection_of_an_abandoned_call_is_kept(make, valkey, redis):
    client = make(valkey.url)
    eventually(client.ready)
    assert client.call(ping)
    before = redis.info("stats")["total_connections_received"]
    for _ in range(FAILURES_TO_OPEN - 1):
        with leaving_after(client, answers=0):
            assert client.call(lambda redis: redis.blpop("empty", 0)) is None
        redis.lpush("empty", "the answer")
        eventually(lambda: client._helpers.in_flight == 0)
    assert client.call(ping)
    assert not client.breaker.is_open
    assert redis.info("stats")["total_connections_received"] == before


def test_exception_of_the_function_is_raised(make, valkey):
    client = make(valkey.url)
    eventually(client.ready)
    assert client.call(lambda redis: 1 / 0) is None
    assert client.failures == 1
    eventually(lambda: client.call(ping))


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
def test_failed_thread_start_is_no_failure_of_the_server(error, make, valkey, monkeypatch):
    client = make(valkey.url)
    eventually(client.ready)

    def refuse(*_):
        raise error("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", refuse)
        assert client.call(ping) is None
    assert (client.skipped, client.failures) == (1, 0)
    assert client._helpers.in_flight == 0
    eventually(lambda: client.call(ping))


def test_received_answer_is_used_although_the_process_was_busy(valkey):
    """Under gevent, a computation blocks the loop until after the timeout; the answer is in the
    socket already."""
    program = f"""
from gevent import monkey; monkey.patch_all()
import gevent, time
from app.redis.client import BestEffortClient
client = BestEffortClient({valkey.url!r}, 0.05, "test")
while not client.call(lambda redis: redis.ping()): client.ready()
select = monkey.get_original("select", "select")

def compute():
    gevent.sleep(0.001)
    end = time.monotonic() + 0.2
    (asked,) = client._client.connection_pool._in_use_connections  # the question has left
    select([asked._sock], [], [], 20)
    while time.monotonic() < end: pass

answered = 0
for _ in range(20):  # all of it may go wrong where the whole process does not run for a while
    while client._helpers.in_flight or not client.call(lambda redis: redis.ping()):
        gevent.sleep(0.001)
    busy, failures = gevent.spawn(compute), client.failures
    slow = "local n = 0; for i = 1, 3e6 do n = n + 1 end; return n"
    is_answered = client.call(lambda redis: redis.eval(slow, 0)) == 3000000
    busy.join()
    answered += is_answered and client.failures == failures and busy.successful()
    if answered == 5: break
print(answered)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout == "5\n", found.stderr
