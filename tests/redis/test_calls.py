"""Calls in helper threads: answers in time, failures of the server, kept connections."""

import _thread
import subprocess
import sys
import threading
import time

import pytest

from app.redis.circuit_breaker import FAILURES_TO_OPEN
from tests.support.server import eventually


def ping(client):
    return client.ping()


def test_answers_in_time_are_used(make, valkey):
    client = make(valkey.url, timeout_s=0.5)
    eventually(client.ready)
    ended = threading.Event()

    def steps(redis, remaining_s):
        try:
            yield 1
            yield 2
            time.sleep(max(0, remaining_s()) + 0.01)
            yield 3
            yield 4
        finally:
            ended.set()

    assert client.collect(steps) == [1, 2]
    assert ended.wait(5)  # at the first answer after the timeout
    assert (client.failures, client.breaker.is_open) == (0, False)
    eventually(lambda: client.call(ping))


def test_connection_of_an_abandoned_call_is_kept(make, valkey, redis):
    client = make(valkey.url)
    eventually(client.ready)
    eventually(lambda: client.call(ping))
    before = redis.info("stats")["total_connections_received"]
    for _ in range(FAILURES_TO_OPEN - 1):
        slow = "local n = 0; for i = 1, 2e7 do n = n + 1 end; return n"
        assert client.call(lambda redis, slow=slow: redis.eval(slow, 0)) is None
        eventually(lambda: client._helpers.in_flight == 0)
    eventually(lambda: client.call(ping))
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
while not client.ready(): pass
assert client.call(lambda redis: redis.ping())

def compute():
    gevent.sleep(0.001)  # the question has left
    end = time.monotonic() + 0.2
    while time.monotonic() < end: pass

for _ in range(5):
    busy = gevent.spawn(compute)
    slow = "local n = 0; for i = 1, 1e5 do n = n + 1 end; return n"
    assert client.call(lambda redis: redis.eval(slow, 0)) == 100000
    busy.join()
assert client.failures == 0
client.close()
print("done")
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (found.stdout, found.stderr) == ("done\n", "")
