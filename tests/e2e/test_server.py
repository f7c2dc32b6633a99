"""The server under the app: gunicorn's workers as `app.server` changes them, over real sockets."""

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.plain import LINE, Plain, connect, read_all, read_answer, too_large_request
from tests.e2e.plain_server import server as server
from tests.e2e.plain_server import worker_class as worker_class
from tests.support.server import Proxy

MEBIBYTE = 2**20


def test_exception_of_the_app_is_a_500_in_json(server: Plain):
    answer = server.client(None).request("POST", "/crash", b"{}", X_Request_ID="mine-1")
    assert answer.status == 500
    assert answer.error["code"] == "internal_error"
    assert answer.headers["x-request-id"] == "mine-1"
    assert "gunicorn" not in str(answer.headers)


def test_server_header_names_no_software(server: Plain):
    assert server.client(None).get("/").headers["server"] == "embeddings-proxy"


def test_old_and_unusual_clients_are_served(server: Plain):
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    with connect(server) as connection:
        connection.sendall(LINE + offer + b"Content-Length: 3\r\n\r\nabc")
        assert read_answer(connection).startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"HEAD /x HTTP/1.1\r\nHost: x\r\n\r\n" + LINE + b"\r\n")  # pipelined
        head, answer = read_answer(connection).split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 200 ")
        assert answer.startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"POST /x HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc")
        assert read_all(connection).startswith(b"HTTP/1.0 200 ")


def test_expect_gets_100_continue(server: Plain):
    expecting = b"Expect: 100-Continue\r\nContent-Length: 3\r\n\r\n"
    with connect(server) as connection:
        connection.sendall(LINE + expecting)
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert b'"read": 3' in read_answer(connection)


def test_refused_expect_gets_no_100_continue(server: Plain):
    with connect(server) as connection:
        connection.sendall(
            b"POST /early/413 HTTP/1.1\r\nHost: x\r\n"
            b"Expect: 100-continue\r\nContent-Length: 99\r\n\r\n"
        )
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close" in answer


def test_a_small_unread_body_keeps_the_connection(server: Plain):
    for path, status in ((b"/early/401", b"401"), (b"/x", b"200")):
        with connect(server) as connection:
            for _ in range(3):
                head = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 3000\r\n\r\n"
                connection.sendall(head + b"x" * 3000)
                assert read_answer(connection).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_over_the_limit_is_refused(
    proxy_of: Callable[[str], Proxy], worker_class: str, framing: str
):
    answer = proxy_of(worker_class).client().raw(too_large_request(framing))
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_early_answer_reaches_a_client_that_still_sends(server: Plain, framing: str):
    piece = b"x" * MEBIBYTE
    head = b"POST /early/413 HTTP/1.1\r\nHost: x\r\n"
    if framing == "chunked":
        head += b"Transfer-Encoding: chunked\r\n\r\n"
        piece, last = b"100000\r\n" + piece + b"\r\n", b"0\r\n\r\n"
    else:
        head += b"Content-Length: %d\r\n\r\n" % (40 * MEBIBYTE)
        last = b""
    with connect(server) as connection:
        connection.sendall(head)
        for _ in range(40):
            connection.sendall(piece)
            time.sleep(0.001)
        connection.sendall(last)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close" in answer


def test_endless_body_is_not_read(server: Plain):
    with connect(server) as connection:
        connection.sendall(
            b"POST /early/413 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
        )
        assert 32 < pieces_taken(connection, b"x" * MEBIBYTE) < 100


def test_dripping_client_is_closed(server: Plain):
    with connect(server) as connection:
        connection.sendall(
            b"POST /early/413 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
        )
        assert read_all(connection).startswith(b"HTTP/1.1 413 ")
        assert pieces_taken(connection, b"x", pause=0.1) < 300


def pieces_taken(connection: socket.socket, piece: bytes, pause: float = 0) -> int:
    """Return how often data can be sent before the server resets the connection."""
    for count in range(1000):
        try:
            connection.sendall(piece)
        except (ConnectionResetError, BrokenPipeError):
            return count
        time.sleep(pause)
    pytest.fail("the server takes everything")


def test_silent_connections_do_not_delay_others(server: Plain):
    with ExitStack() as stack:
        for _ in range(300):  # more than gthread has threads
            stack.enter_context(connect(server))
        assert server.client(None).get("/").seconds < 10


def test_gevent_is_imported_only_if_chosen(server: Plain, worker_class: str):
    (pid,) = server.workers()
    loaded = Path(f"/proc/{pid}/maps").read_text()
    assert ("/gevent/" in loaded) == (worker_class == "gevent")
