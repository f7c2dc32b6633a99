"""The server under the app: gunicorn's workers as `app.server` changes them, over real sockets."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import WORKER_CLASSES
from tests.e2e.plain import LINE, Plain, connect, read_all, read_answer, too_large_request
from tests.support.server import Proxy

SECRET = "sk-planted-secret"


MEBIBYTE = 2**20


@pytest.fixture(scope="module", params=WORKER_CLASSES)
def worker_class(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def server(worker_class: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plain]:
    """A server for tests that do not stop it."""
    with Plain(tmp_path_factory.mktemp("server"), worker_class) as plain:
        yield plain


@pytest.fixture
def start(worker_class: str, tmp_path: Path) -> Iterator[Callable[..., Plain]]:
    """Starts servers for one test."""
    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(
            Plain(tmp_path, worker_class, *arguments, **options)
        )


CHUNKED = LINE + b"Transfer-Encoding: chunked\r\n\r\n"


PLANTED = SECRET.encode()


REFUSED = {
    "garbage": (b"\x16\x03\x01\x02\x00" + PLANTED + b"\r\n\r\n", 400),
    "no version": (b"GET /" + PLANTED + b"\r\n\r\n", 400),
    "version 3": (b"GET /" + PLANTED + b" HTTP/3.0\r\n\r\n", 400),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "method in lower case": (b"get /" + PLANTED + b" HTTP/1.1\r\n\r\n", 400),
    "control in the target": (b"GET /\x01" + PLANTED + b" HTTP/1.1\r\n\r\n", 400),
    "line too long": (b"GET /" + PLANTED * 1000 + b" HTTP/1.1\r\n\r\n", 414),
    "header without colon": (LINE + PLANTED + b"\r\n\r\n", 400),
    "space in a header name": (LINE + b"Authorization : Bearer " + PLANTED + b"\r\n\r\n", 400),
    "control in a header": (LINE + b"Authorization: Bearer \x00" + PLANTED + b"\r\n\r\n", 400),
    "folded header": (LINE + b"Authorization: Bearer\r\n " + PLANTED + b"\r\n\r\n", 400),
    "bare LF": (b"POST /x HTTP/1.1\nAuthorization: " + PLANTED + b"\n\n", 400),
    "header too large": (LINE + b"Authorization: " + PLANTED * 2000 + b"\r\n\r\n", 431),
    "too many headers": (LINE + b"X-A: b\r\n" * 200 + b"\r\n", 431),
    "two hosts": (LINE + b"Host: " + PLANTED + b"\r\n\r\n", 400),
    "two lengths": (LINE + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "signed length": (LINE + b"Content-Length: +3\r\n\r\nabc", 400),
    "length and chunked": (
        LINE + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "chunked in HTTP/1.0": (
        b"POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "unknown coding": (LINE + b"Transfer-Encoding: " + PLANTED + b"\r\n\r\n", 501),
    "not chunked at last": (LINE + b"Transfer-Encoding: gzip\r\n\r\n", 400),
    "unknown expectation": (LINE + b"Expect: " + PLANTED + b"\r\n\r\n", 417),
}


BROKEN_BODIES = {
    "chunk size is a word": CHUNKED + PLANTED + b"\r\nabc\r\n0\r\n\r\n",
    "chunk size is signed": CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n",
    "chunk is too long": CHUNKED + b"3\r\nabcdef\r\n0\r\n\r\n",
    "key in a trailer": CHUNKED + b"0\r\nAuthorization: " + PLANTED + b"\r\n\r\n",
    "broken off in a chunk": CHUNKED + b"a\r\nabc",
    "broken off between chunks": CHUNKED + b"3\r\nabc\r\n",
    "broken off in the body": LINE + b"Content-Length: 10\r\n\r\nabc",
}


def ask_and_end(server: Plain, data: bytes) -> bytes:
    """Send all, close the sending side, and read all."""
    with connect(server) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


@pytest.mark.parametrize("trick", REFUSED)
def test_invalid_http_is_refused_in_json(server: Plain, trick: str):
    data, status = REFUSED[trick]
    head, _, body = ask_and_end(server, data).partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0].startswith(f"http/1.1 {status} ")
    assert "content-type: application/json" in lines
    assert "connection: close" in lines
    assert f"content-length: {len(body)}" in lines
    assert any(line.startswith("x-request-id: ") for line in lines)
    error = json.loads(body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert "gunicorn" not in (head + body).decode()
    assert SECRET not in (head + body).decode()


@pytest.mark.parametrize("trick", BROKEN_BODIES)
def test_app_gets_an_error_for_a_broken_body(server: Plain, trick: str):
    head, _, body = ask_and_end(server, BROKEN_BODIES[trick]).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"Connection: close" in head
    assert json.loads(body)["error"].startswith("the request body ")


def test_log_does_not_repeat_a_refused_request(server: Plain):
    for data, _ in REFUSED.values():
        ask_and_end(server, data)
    lines = [json.loads(line) for line in server.stderr().splitlines()]
    assert "InvalidHeaderName" in server.stderr()
    assert lines[0].keys() >= {"time", "level", "message"}
    assert SECRET not in server.stderr() + server.stdout()
    assert "Traceback" not in server.stderr()


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
        assert pieces_taken(connection, b"x", pause=0.1) < 80


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
        assert server.client(None).get("/").seconds < 1


def test_gevent_is_imported_only_if_chosen(server: Plain, worker_class: str):
    (pid,) = server.workers()
    loaded = Path(f"/proc/{pid}/maps").read_text()
    assert ("/gevent/" in loaded) == (worker_class == "gevent")
