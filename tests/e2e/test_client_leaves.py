"""A request whose client has closed the connection is withdrawn: no call is made for it."""

import json
import socket
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest

from tests.conftest import WORKER_CLASSES
from tests.e2e.nginx_front import Nginx
from tests.support import refusals, settings, stalls
from tests.support.server import Proxy, eventually
from tests.support.settings import KEY
from tests.support.upstream import Upstream, good

REQUESTS = {'route="embeddings"', 'model="narrow"', 'status="499"'}


@pytest.fixture(scope="module")
def upstream():
    with Upstream(settings.WIDTH) as upstream:
        yield upstream


@pytest.fixture(scope="module", params=[*WORKER_CLASSES, "behind nginx"])
def proxy(request, tmp_path_factory, upstream):
    """A proxy with one slot at its provider; its `port` may be that of nginx before it."""
    directory = tmp_path_factory.mktemp("leaves")
    path = settings.settings_file(
        directory,
        {"narrow": settings.provider(upstream, concurrency=1, merge=False)},
        {"narrow": settings.model("narrow")},
        {"tests": {**settings.key(KEY, "*"), "admin": True, "tokens_per_day": 10_000}},
        CACHE={},
    )
    is_behind = request.param == "behind nginx"
    worker_class = "gevent" if is_behind else request.param
    with ExitStack() as stack:
        proxy = stack.enter_context(Proxy(directory, path, worker_class=worker_class))
        proxy.front = proxy.port
        if is_behind:
            front = stack.enter_context(Nginx(tmp_path_factory.mktemp("nginx"), proxy.port))
            proxy.front = front.port
        yield proxy


@pytest.fixture(autouse=True)
def _good_upstream(upstream):
    upstream.reset()


def ask(proxy, text, request_id, **fields):
    """Send a request for embeddings; return the connection."""
    body = json.dumps({"model": "narrow", "input": text, "timeout": 60, **fields}).encode()
    head = (
        "POST /v1/embeddings HTTP/1.1\r\nHost: proxy\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {KEY}\r\nX-Request-Id: {request_id}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", proxy.front), timeout=20)
    connection.sendall(head.encode() + body)
    return connection


@contextmanager
def held(upstream):
    """Let the provider's next call wait until the block ends."""
    go = threading.Event()

    def hold(exchange):
        go.wait(60)
        good(exchange)

    upstream.script(hold)
    try:
        yield
    finally:
        go.set()


def waiting(proxy):
    (deployment,) = proxy.client().get("/v1/providers").json["data"]
    return deployment["outstanding"]


def labels(line):
    return set(line.partition("{")[2].partition("}")[0].split(","))


def assert_logged_as_left(proxy, request_id):
    line = proxy.log_line(request_id)  # the proxy looks for its client once a second
    assert (line["status"], line["error_code"]) == (499, "client_closed_request")
    assert line["level"] == "info"


def test_queued_request_is_withdrawn(proxy, upstream):
    with held(upstream):
        first = ask(proxy, "first", "first")
        upstream.wait_for_calls(1)
        leaver, stayer = ask(proxy, "left", "queued-left"), ask(proxy, "stays", "stays")
        eventually(lambda: waiting(proxy) == 3, what="two requests wait behind the first")
        leaver.close()
        eventually(lambda: waiting(proxy) == 2, what="one is withdrawn")
    for connection in (first, stayer):
        with connection:
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
    assert upstream.seen == ["first", "stays"]
    assert_logged_as_left(proxy, "queued-left")
    lines = proxy.client().get("/metrics").text.splitlines()
    (counted,) = [line for line in lines if "_requests_total{" in line and labels(line) >= REQUESTS]
    assert float(counted.split()[-1]) >= 1


def test_withdrawn_request_is_charged_nothing(proxy, upstream):
    def remaining():
        answer = proxy.client().embed("narrow", "one")
        return int(answer.headers["x-ratelimit-remaining-tokens"])

    before = remaining()
    used = before - remaining()
    with held(upstream):
        with ask(proxy, "one", "charged-first"):
            upstream.wait_for_calls(3)
            leaver = ask(proxy, "one " * 500, "charged-nothing")
            eventually(lambda: waiting(proxy) == 2)  # else nginx may end it before the proxy has it
            leaver.close()
            assert_logged_as_left(proxy, "charged-nothing")
        assert_logged_as_left(proxy, "charged-first")
    assert proxy.log_line("charged-nothing")["billed_tokens"] == 0
    assert before - remaining() == 2 * used


def test_call_in_flight_is_cancelled(proxy, upstream):
    upstream.script(stalls.silence)
    leaver = ask(proxy, "left", "called-left")
    upstream.wait_for_calls(1)
    leaver.close()
    assert upstream.calls[0].hung_up.wait(20)
    assert_logged_as_left(proxy, "called-left")
    assert proxy.log_line("called-left")["attempts"] == 1
    assert proxy.client().embed("narrow", "afterwards").status == 200  # the slot is free again


def test_cached_item_is_embedded_for_those_who_stay(proxy, upstream):
    with held(upstream):
        owner = ask(proxy, "shared", "owner-left", caching=True)
        upstream.wait_for_calls(1)
        stayer = ask(proxy, "shared", "shares", caching=True)
        eventually(lambda: proxy.in_flight() == 2, what="the other one waits, too")
        owner.close()
        assert_logged_as_left(proxy, "owner-left")
    with stayer:
        assert stayer.recv(100).startswith(b"HTTP/1.1 200 ")
    assert upstream.seen == ["shared"]


def test_client_that_closes_only_its_sending_side_gets_a_quick_answer_or_499(proxy, upstream):
    if proxy.front != proxy.port:
        pytest.skip("nginx closes such a connection at once")

    def answer_of_a_quick_one():
        with ask(proxy, "quick", f"half-quick-{time.monotonic_ns()}") as connection:
            connection.shutdown(socket.SHUT_WR)
            return connection.recv(100)

    # On a busy machine one may take the second after which the proxy looks.
    eventually(lambda: answer_of_a_quick_one().startswith(b"HTTP/1.1 200 "))
    upstream.script(stalls.silence)
    with ask(proxy, "slow", "half-slow") as connection:
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100).startswith(b"HTTP/1.1 499 ")
    assert_logged_as_left(proxy, "half-slow")


def test_pipelined_request_is_no_end(proxy, upstream):
    upstream.script(refusals.delayed(2.5, good))  # two looks
    with ask(proxy, "first", "pipelined-first") as connection:
        upstream.wait_for_calls(1)
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
    assert proxy.log_line("pipelined-first")["status"] == 200
