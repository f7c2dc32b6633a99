"""The caller gets an answer or an error within `timeout`, for any behaviour of a provider.

And no connection in an unknown state, no thread and no open file is left.
"""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import WORKER_CLASSES
from tests.support import refusals, stalls
from tests.support.server import eventually
from tests.support.upstream import good
from tests.support.vectors import assert_answers

GRACE = 9  # seconds after the deadline, on a machine that is busy; a stall takes 30 and more
UNHURRIED = 100  # maximum MiB of a worker during a flood
CALLERS = 64
# Threads that gunicorn's gthread may add to its pool meanwhile: it does whenever none has said yet
# that it is idle. What stays behind of sixteen stalled calls is more (see below).
SPARE = 2


@pytest.fixture(scope="module", params=WORKER_CLASSES)
def proxy(request, proxy_of):
    """A proxy under each class of worker, whose pool of threads has been used before."""
    proxy = proxy_of(request.param)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: proxy.client().embed("steady", f"warm {i}"), range(32)))
    return proxy


def resources(proxy):
    """Return (threads, sockets) of the only worker. Its other files are metrics and logs."""
    (worker,) = proxy.workers()
    sockets = 0
    for descriptor in Path(f"/proc/{worker}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            sockets += os.readlink(descriptor).startswith("socket:")
    return len(os.listdir(f"/proc/{worker}/task")), sockets


def resident(proxy):
    """Return the memory of the only worker in MiB."""
    (worker,) = proxy.workers()
    pages = int(Path(f"/proc/{worker}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def assert_in_time(answer, timeout=1):
    assert (answer.status, answer.error["code"]) == (504, "timeout"), answer.text
    assert timeout <= answer.seconds + 0.01
    assert answer.seconds < timeout + GRACE
    assert answer.headers["x-should-retry"] == "false"


def assert_nothing_left(proxy, before, within=20):
    def back():
        threads, sockets = resources(proxy)
        return threads <= before[0] + SPARE and sockets <= before[1]

    # gevent looks names up in native threads, and ends them when they have been idle for 4 s.
    eventually(back, within, f"threads and sockets as before: {before}")


@pytest.mark.parametrize("stall", stalls.STALLS, ids=lambda stall: stall.__name__)
def test_a_stalling_provider_is_cut_at_the_deadline(client, proxy, upstream, fresh, stall):
    model = fresh("embed")
    client.embed(model, "warm")
    before = resources(proxy)
    upstream.script(stall)
    assert_in_time(client.embed(model, "hello", timeout=1))

    stalled = upstream.calls[1]
    assert stalled.hung_up.wait(20)  # the proxy has closed that connection
    assert_nothing_left(proxy, before)
    answer = client.embed(model, "afterwards")
    assert_answers(answer.json, ["afterwards"], 32)
    assert upstream.calls[-1].connection != stalled.connection
    assert len(upstream.calls) == 3  # and the stalled call was not made twice


def test_connection_that_is_never_completed_is_cut_at_the_deadline(client, proxy, fresh):
    client.embed("steady", "warm")
    before = resources(proxy)
    assert_in_time(client.embed(fresh("hole"), "hello", timeout=1))
    assert_nothing_left(proxy, before)


def test_a_provider_that_refuses_connections_fails_at_once(client, fresh):
    answer = client.embed(fresh("closed"), "hello", timeout=25)
    assert (answer.status, answer.error["code"]) in (
        (502, "upstream_error"),
        (503, "no_provider_available"),
    )
    assert answer.seconds < GRACE


def test_a_flood_is_cut_before_it_fills_the_memory(client, proxy, upstream, fresh):
    model = fresh("embed")
    client.embed(model, "warm")
    before, memory = resources(proxy), resident(proxy)
    upstream.always(stalls.flood)
    answer = client.embed(model, "hello", timeout=1)
    assert answer.status in (502, 504)
    assert answer.error["code"] in ("upstream_error", "timeout")
    assert answer.seconds < 1 + GRACE
    assert upstream.calls[1].hung_up.wait(20)
    assert_nothing_left(proxy, before)
    assert resident(proxy) < memory + UNHURRIED


def test_slow_answer_within_the_timeout_is_returned(client, upstream):
    upstream.script(refusals.delayed(1.2, good))
    answer = client.embed("embed", "hello", timeout=20)
    assert_answers(answer.json, ["hello"], 32)
    assert answer.seconds > 1.2


def test_timeout_covers_the_whole_request(client, upstream, fresh):
    """300 texts, in one call or in several."""
    model = fresh("embed")
    upstream.always(refusals.delayed(0.7, stalls.half_then_stall))
    assert_in_time(client.embed(model, [f"text {i}" for i in range(300)], timeout=1))


@pytest.mark.parametrize("which", ["another", "the same"])
def test_hanging_call_does_not_delay_other_callers(client, upstream, steady, fresh, which):
    hung = fresh("embed")
    model = hung if which == "the same" else "steady"
    go = threading.Event()

    def hang(exchange):
        go.wait(60)
        good(exchange)

    upstream.script(hang)
    texts = [f"caller {i}" for i in range(CALLERS)]
    with ThreadPoolExecutor(CALLERS + 1) as pool:
        hanging = pool.submit(client.embed, hung, "hangs")
        try:
            upstream.wait_for_calls(1)
            answers = list(pool.map(lambda text: client.embed(model, text), texts))
            assert not hanging.done()  # all were served while the other call hung
        finally:
            go.set()
        for text, answer in zip([*texts, "hangs"], [*answers, hanging.result()], strict=True):
            assert_answers(answer.json, [text], 32)


def test_hanging_calls_leave_no_threads_and_sockets(client, proxy, upstream, fresh):
    upstream.always(stalls.silence)

    def hang(model):
        return client.embed(model, "hello", timeout=1)

    def nothing_left():
        """Let sixteen calls hang. Where gthread's pool grows by that, the next try tells."""
        before = resources(proxy)
        for answer in pool.map(hang, [fresh("embed") for _ in range(16)]):
            assert_in_time(answer)
        try:
            assert_nothing_left(proxy, before, 10)
        except AssertionError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(hang, [fresh("embed") for _ in range(16)]))  # a pool of threads may grow
        eventually(nothing_left, 40, "as many threads and sockets as before")
