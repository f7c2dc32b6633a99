"""The server under the app: gunicorn's workers as `app.server` changes them, over real sockets."""

import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import WORKER_CLASSES
from tests.e2e.plain import Load, Plain
from tests.support.server import Proxy, eventually
from tests.support.settings import KEY

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


def connect(server: Plain, timeout: float = 20) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=timeout)


def read_all(connection: socket.socket) -> bytes:
    """Read until the server closes; a reset fails the test."""
    pieces = []
    while piece := connection.recv(2**16):
        pieces.append(piece)
    return b"".join(pieces)


def read_answer(connection: socket.socket) -> bytes:
    """Read one answer of `plain_app` on a connection that stays open."""
    data = b""
    while b"}" not in data:
        piece = connection.recv(2**16)
        assert piece, f"closed after {data!r}"
        data += piece
    return data


# Framing ------------------------------------------------------------------------------------------

LINE = b"POST /x HTTP/1.1\r\nHost: x\r\n"
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


# Clients ----------------------------------------------------------------------------------


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
    data = b"x" * (40 * MEBIBYTE)
    head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n".encode()
    if framing == "chunked":
        head += b"Transfer-Encoding: chunked\r\n\r\n"
        data = b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)
    else:
        head += b"Content-Length: %d\r\n\r\n" % len(data)
    answer = proxy_of(worker_class).client().raw(head + data)
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


# Stop -----------------------------------------------------------------------------------------


def children(server: Plain) -> set[int]:
    return set(server.workers())


def test_sigterm_under_load_loses_no_request(start: Callable[..., Plain]):
    server = start(workers=2)
    with Load(server.port) as load:
        eventually(lambda: load.answered > 100, 20)
        server.process.terminate()
        assert server.process.wait(10) == 0
        eventually(lambda: load.refused > 8, 5)
    assert load.lost == []


def test_hup_under_load_loses_no_request(start: Callable[..., Plain]):
    server = start(workers=2)
    with Load(server.port) as load:
        for _ in range(2):
            old = eventually(lambda: len(children(server)) == 2 and children(server), 10)
            answered = load.answered
            eventually(lambda answered=answered: load.answered > answered + 100, 20)
            server.process.send_signal(signal.SIGHUP)
            eventually(lambda old=old: not children(server) & old, 15, "the old workers are gone")
        answered = load.answered
        eventually(lambda: load.answered > answered + 100, 20)
    assert load.lost == []
    assert load.refused == 0


def test_stop_waits_for_requests_and_not_for_idle_connections(start: Callable[..., Plain]):
    server = start()
    with ExitStack() as stack:
        silent, idle, late, begun, working = (
            stack.enter_context(connect(server)) for _ in range(5)
        )
        for connection in (idle, late):
            connection.sendall(LINE + b"\r\n")
            assert b"Connection: keep-alive" in read_answer(connection)
        begun.sendall(LINE)
        working.sendall(b"POST /sleep/3.5 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        time.sleep(0.5)
        server.process.terminate()
        stopped = time.monotonic()
        time.sleep(1)
        late.sendall(LINE + b"\r\n")  # the client could not know of the stop
        answer = read_all(late)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"Connection: close" in answer
        for connection in (idle, silent):
            assert read_all(connection) == b""
        assert 1.5 < time.monotonic() - stopped < 3.2
        begun.sendall(b"\r\n")
        assert read_all(begun).startswith(b"HTTP/1.1 200 ")
        answer = read_all(working)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"Connection: close" in answer
        server.process.wait(3)
    assert "Traceback" not in server.stderr()


def test_server_stops_at_once_during_its_start(start: Callable[..., Plain]):
    server = start(workers=2)  # the second is still booting
    begin = time.monotonic()
    server.process.terminate()
    server.process.wait(5)
    assert time.monotonic() - begin < 1.5


# Start ----------------------------------------------------------------------------------------


def run(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a server that is expected not to start; return its result."""
    plain = Plain(tmp_path, "gevent", **environment)
    return subprocess.run(
        plain._command,
        cwd=Path(__file__).parents[2],
        env=plain._environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_wrong_settings_stop_the_start_with_one_line_for_each(tmp_path: Path):
    settings = tmp_path / "settings.py"
    settings.write_text(WRONG)
    result = run(tmp_path, PROXY_SETTINGS=str(settings))
    assert result.returncode == 1
    assert "opnai" in result.stderr
    lines = [line for line in result.stderr.splitlines() if "Starting gunicorn" not in line]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("MODELS['x']['deployments'][0]['provider']")


WRONG = """
PROVIDERS = {"openai": {"kind": "openai", "base_url": "http://127.0.0.1:9", "api_key": "sk"}}
MODELS = {"x": {"dimensions": 8, "deployments": [{"provider": "opnai", "model": "x"}]}}
"""


def test_wrong_settings_do_not_replace_good_ones(start: Callable[..., Plain], tmp_path: Path):
    settings = tmp_path / "settings.py"
    settings.write_text("")
    server = start(PROXY_SETTINGS=str(settings))
    old = children(server)
    settings.write_text(WRONG)
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: "opnai" in server.stderr(), 10)
    assert server.client(None).get("/").status == 200
    assert children(server) == old
    settings.write_text("")
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: children(server) and not children(server) & old, 10)
    assert server.client(None).get("/").status == 200
    assert "Traceback" not in server.stderr()


def test_gevent_is_imported_only_if_chosen(server: Plain, worker_class: str):
    (pid,) = server.workers()
    loaded = Path(f"/proc/{pid}/maps").read_text()
    assert ("/gevent/" in loaded) == (worker_class == "gevent")
