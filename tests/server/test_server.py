"""`app.server` in this process: its parts, and both workers over real sockets without a fork.

tests/e2e/test_server.py tests the whole server.
"""

import errno
import io
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import gevent.socket
import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.http import errors, get_parser, wsgi
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wsgi import get_input_stream

from app import server as serving
from app.server import body, contract
from app.server.answer import BufferedHeadResponse
from tests.conftest import WORKER_CLASSES

SECRET = "sk-planted-secret"


@pytest.fixture(autouse=True)
def _restored_errors_wrapper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the class that a worker replaces in gunicorn, for other tests in this process."""
    monkeypatch.setattr(wsgi, "WSGIErrorsWrapper", wsgi.WSGIErrorsWrapper)


# Imports ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("worker", "absent"),
    [
        ("GeventWorker", {"flask", "requests", "urllib3", "numpy", "marshmallow", "app.config"}),
        ("ThreadWorker", {"gevent", "flask", "requests", "urllib3", "numpy", "marshmallow"}),
    ],
)
def test_gunicorns_master_loads_only_what_the_worker_class_needs(worker: str, absent: set[str]):
    code = f"import sys; from app.server import {worker}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not absent & set(loaded)


def test_there_are_exactly_two_worker_classes():
    assert serving.ThreadWorker is serving.ThreadWorker
    with pytest.raises(AttributeError, match="SyncWorker"):
        _ = serving.SyncWorker


# Reading a request --------------------------------------------------------------------------------


class Talk:
    """A client's socket, and the request that gunicorn's parser reads from its peer."""

    def __init__(self, *pieces: bytes, end: bool = True) -> None:
        self.client, self.server = socket.socketpair()
        for piece in pieces:
            self.client.sendall(piece)
        if end:
            self.client.shutdown(socket.SHUT_WR)
        self.parser = get_parser(Config(), self.server, ("127.0.0.1", 1))
        self.unreader = self.parser.unreader = body.Unreader(self.server)
        request = next(self.parser)
        self.body = request.body = body.Body(request, self.unreader, self.server)

    def __enter__(self) -> "Talk":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.server.close()


def sized(body: bytes, *lines: bytes, length: int | None = None) -> bytes:
    length = len(body) if length is None else length
    head = [b"POST / HTTP/1.1", b"Content-Length: %d" % length, *lines, b"", b""]
    return b"\r\n".join(head) + body


def chunked(*pieces: bytes, last: bytes = b"0\r\n\r\n") -> bytes:
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + last


@pytest.mark.parametrize("data", [sized(b"abc\ndef"), chunked(b"abc\n", b"def")])
def test_body_can_be_read_by_all_methods_of_wsgi_input(data: bytes):
    ways: list[tuple[Callable[[Any], Any], Any]] = [
        (lambda body: body.read(), b"abc\ndef"),
        (lambda body: body.read(None), b"abc\ndef"),
        (lambda body: [body.read(5), body.read(5), body.read(5)], [b"abc\nd", b"ef", b""]),
        (lambda body: [body.readline(), body.readline(2)], [b"abc\n", b"de"]),
        (lambda body: body.readlines(), [b"abc\n", b"def"]),
        (list, [b"abc\n", b"def"]),
    ]
    for read, expected in ways:
        with Talk(data) as talk:
            assert read(talk.body) == expected


@pytest.mark.parametrize("data", [sized(b"abc"), chunked(b"abc")])
def test_connection_is_kept_after_a_read_body(data: bytes):
    with Talk(data) as talk:
        talk.body.read()
        assert talk.body.unread_bytes == 0
        assert talk.body.keeps_connection
        assert talk.body.finish()


def test_small_unread_body_is_read_to_keep_the_connection():
    with Talk(sized(b"x" * 60_000) + sized(b"next")) as talk:
        assert talk.body.keeps_connection
        assert talk.body.finish()
        next(talk.parser)
        assert talk.parser.mesg.body.read() == b"next"


@pytest.mark.parametrize("data", [sized(b"x" * 3, length=70_000), chunked(b"abc")])
def test_large_or_unknown_unread_body_is_not_read(data: bytes):
    with Talk(data) as talk:
        assert not talk.body.keeps_connection
        assert not talk.body.finish()


@pytest.mark.parametrize(
    "data",
    [
        sized(b"abc", length=10),
        chunked(b"abc", last=b""),
        chunked(b"abc", last=b"a\r\nabc"),
        chunked(last=SECRET.encode() + b"\r\n"),
        chunked(last=b"3\r\nabcdef\r\n0\r\n\r\n"),
        chunked(last=b"0\r\nAuthorization: " + SECRET.encode() + b"\r\n\r\n"),
    ],
)
def test_broken_body_is_an_error_without_its_content(data: bytes):
    with Talk(data) as talk:
        with pytest.raises(body.BodyError) as raised:
            list(iter(lambda: talk.body.read(2), b""))
        assert SECRET not in str(raised.value)
        assert raised.value.__suppress_context__ or raised.value.__context__ is None
        assert not talk.body.keeps_connection
        assert not talk.body.finish()


def test_truncated_unread_body_closes_the_connection():
    with Talk(sized(b"abc", length=10)) as talk:
        assert talk.body.keeps_connection
        assert not talk.body.finish()


def test_broken_body_is_a_400_and_large_body_a_413():
    environ: dict[str, Any] = {"wsgi.input_terminated": True}
    with Talk(chunked(b"abc", last=b"zz\r\n")) as talk:
        stream = get_input_stream({**environ, "wsgi.input": talk.body}, max_content_length=100)
        with pytest.raises(Exception, match="400 Bad Request"):
            stream.read()
    with Talk(chunked(b"x" * 200)) as talk:
        stream = get_input_stream({**environ, "wsgi.input": talk.body}, max_content_length=100)
        assert len(stream.read()) == 100
        with pytest.raises(RequestEntityTooLarge):
            stream.read(1)


def test_100_continue_is_sent_when_the_body_is_read():
    with Talk(sized(b"", b"Expect: 100-continue", length=3), end=False) as talk:
        assert not talk.body.keeps_connection
        talk.client.sendall(b"abc")
        assert talk.body.read() == b"abc"
        assert talk.client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert talk.body.keeps_connection


def test_client_below_minimum_rate_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(body, "IDLE_CLIENT_TIMEOUT_S", 0.05)
    with Talk(sized(b"abc", length=10), end=False) as talk, pytest.raises(body.BodyError):
        talk.body.read()
    monkeypatch.setattr(body, "MIN_BYTES_PER_S", 100)  # so that three bytes allow 0.03 s
    with Talk(sized(b"abc", length=10), end=False) as talk:
        talk.unreader.expect(5)
        before = talk.unreader.deadline
        talk.client.sendall(b"def")
        assert talk.unreader.chunk() == b"def"
        assert talk.unreader.deadline == pytest.approx(before + 0.03)


# Closing ------------------------------------------------------------------------------------------


def test_rest_of_a_request_is_discarded_within_bounds(monkeypatch: pytest.MonkeyPatch):
    def swallow(timeout_s: float, *, end: bool) -> float:
        client, server = socket.socketpair()
        with client, server:
            client.sendall(b"x" * 1000)
            if end:
                client.shutdown(socket.SHUT_WR)
            start = time.monotonic()
            body.close_after_answer(server, timeout_s)
            assert client.recv(1) == b""  # FIN came first
            return time.monotonic() - start

    assert swallow(5, end=True) < 0.1
    assert swallow(0, end=False) < 0.1
    assert 0.15 < swallow(0.2, end=False) < 1
    monkeypatch.setattr(body, "MAX_DRAIN_BYTES", 500)
    assert swallow(5, end=False) < 0.1


def test_closing_twice_is_no_error():
    client, server = socket.socketpair()
    client.close()
    server.close()
    body.close_after_answer(server, 1)


# The workers --------------------------------------------------------------------------------------


def plain(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    path = environ["PATH_INFO"]
    if path == "/crash":
        raise RuntimeError("a bug")
    if path == "/gone":
        raise ConnectionResetError
    if path == "/odd":
        raise OSError(errno.EIO, "no socket's fault")
    if path == "/slow":
        sleep = (
            time.sleep if isinstance(environ["gunicorn.socket"], socket.socket) else gevent.sleep
        )
        sleep(0.5)
    if path == "/client":
        start_response("200 OK", [("Content-Length", str(len(environ["REMOTE_ADDR"])))])
        return [environ["REMOTE_ADDR"].encode()]
    if path == "/complain":
        environ["wsgi.errors"].write("a complaint\n")
    if path == "/busy":
        end = time.monotonic() + 0.002
        while time.monotonic() < end:
            pass
    if path != "/early":
        environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


class Running:
    """A running worker in a thread of this process."""

    def __init__(self, worker_class: str, *, stopped: bool = False, **settings: Any) -> None:
        self.stopped = stopped
        self.config = Config()
        for name, value in {"keepalive": 5, "threads": 4, "accesslog": None, **settings}.items():
            self.config.set(name, value)
        self.log_lines = io.StringIO()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.worker_class = worker_class
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        assert self.ready.wait(5)

    def _run(self) -> None:
        log = Logger(self.config)
        log.error_log.handlers = [logging.StreamHandler(self.log_lines)]
        app = type("App", (), {"wsgi": lambda _: plain})()
        arguments = (1, os.getppid(), [self.listener], app, 30, self.config, log)
        if self.worker_class == "gevent":
            self.worker = worker = serving.GeventWorker(*arguments)
            worker.sockets = [gevent.socket.socket(fileno=self.listener.detach())]
        else:
            import selectors

            self.worker = worker = serving.ThreadWorker(*arguments)
            self.listener.setblocking(False)
            worker.tpool, worker.poller = worker.get_thread_pool(), selectors.DefaultSelector()
            worker.method_queue.init()
        worker.load_wsgi()
        if self.stopped:
            worker.handle_exit(15, None)
        self.ready.set()
        worker.run()
        worker.tmp.close()
        if self.worker_class == "gevent":
            gevent.wait(
                timeout=5
            )  # a real worker's process ends with it; here sockets must be closed
            gevent.get_hub().destroy(destroy_loop=True)

    def stop(self) -> None:
        self.worker.handle_exit(15, None)
        self.thread.join(20)
        assert not self.thread.is_alive()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 10)

    def ask(self, data: bytes) -> bytes:
        with self.connect() as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return everything(connection)


def everything(connection: socket.socket) -> bytes:
    pieces = []
    while piece := connection.recv(2**16):
        pieces.append(piece)
    return b"".join(pieces)


def get(path: bytes, *lines: bytes) -> bytes:
    return b"\r\n".join([b"GET " + path + b" HTTP/1.1", b"Host: x", *lines, b"", b""])


@pytest.fixture(params=WORKER_CLASSES)
def start(request: pytest.FixtureRequest) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def start(**settings: Any) -> Running:
        running.append(Running(request.param, **settings))
        return running[-1]

    yield start
    for each in running:
        each.stop()


def test_a_worker_answers_and_keeps_connections(start: Callable[..., Running]):
    worker = start()
    with worker.connect() as connection:
        for _ in range(2):
            connection.sendall(get(b"/") + get(b"/"))  # the second arrives before it is read
            answer = b""
            while answer.count(b"\r\n\r\nok") < 2:
                answer += connection.recv(1000)
            assert answer.count(b"Connection: keep-alive") == 2
            assert b"Server: embeddings-proxy\r\n" in answer
        connection.sendall(get(b"/", b"Connection: close"))
        assert everything(connection).endswith(b"\r\n\r\nok")


def test_connection_with_a_late_request_is_served(start: Callable[..., Running]):
    worker = start()
    with worker.connect() as connection:
        time.sleep(0.1)
        connection.sendall(get(b"/", b"Connection: close"))
        assert everything(connection).endswith(b"\r\n\r\nok")


def test_an_idle_connection_is_closed_after_a_while(start: Callable[..., Running]):
    worker = start(keepalive=1)
    with worker.connect() as idle:
        begun = time.monotonic()
        idle.sendall(get(b"/"))
        assert everything(idle).endswith(b"ok")  # and then the connection is closed
        assert 0.9 < time.monotonic() - begun < 4


def test_a_busy_client_does_not_starve_the_others(start: Callable[..., Running]):
    worker = start()
    with worker.connect() as busy:
        busy.sendall(get(b"/busy") * 400 + get(b"/busy", b"Connection: close"))
        begun = time.monotonic()
        assert worker.ask(get(b"/")).endswith(b"ok")
        assert time.monotonic() - begun < 0.4
        assert everything(busy).count(b"\r\n\r\nok") == 401


def test_errors_are_json_without_text_of_the_request(start: Callable[..., Running]):
    worker = start()
    for data, status, code in (
        (get(b"/", SECRET.encode()), 400, "invalid_http"),
        (get(b"/" + SECRET.encode() * 1000), 414, "request_line_too_long"),
        (get(b"/crash", b"X-Request-ID: mine"), 500, "internal_error"),
        (get(b"/crash", b"X-Request-ID: {}"), 500, "internal_error"),
    ):
        head, _, body = worker.ask(data).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert b"application/json" in head
        assert json.loads(body)["error"]["code"] == code
        assert SECRET.encode() not in head + body
        if b"mine" in data:
            assert b"x-request-id: mine" in head
    head, _, body = worker.ask(b"HEAD /crash HTTP/1.1\r\nHost: x\r\n\r\n").partition(b"\r\n\r\n")
    assert body == b""
    worker.stop()
    assert "Refused a request of 127.0.0.1: InvalidHeader" in worker.log_lines.getvalue()
    assert "RuntimeError: a bug" in worker.log_lines.getvalue()
    assert SECRET not in worker.log_lines.getvalue()


def test_slow_client_gets_408(start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(body, "IDLE_CLIENT_TIMEOUT_S", 0.1)
    worker = start()
    with worker.connect() as connection:
        connection.sendall(b"GET / HT")
        answer = connection.recv(1000)
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_broken_connection_is_not_logged(start: Callable[..., Running]):
    worker = start()
    assert worker.ask(get(b"/gone")) == b""
    assert worker.ask(b"GET / HT") == b""
    assert worker.ask(b"") == b""
    worker.stop()
    assert worker.log_lines.getvalue() == ""


def test_wsgi_errors_are_written_to_the_current_log(start: Callable[..., Running]):
    worker, later = start(), io.StringIO()
    assert worker.ask(get(b"/complain")).endswith(b"ok")
    worker.worker.log.error_log.addHandler(logging.StreamHandler(later))
    assert worker.ask(get(b"/complain")).endswith(b"ok")
    assert later.getvalue() == "a complaint\n"


def test_other_socket_errors_are_logged(start: Callable[..., Running]):
    worker = start()
    assert worker.ask(get(b"/odd")) == b""
    worker.stop()
    assert "no socket's fault" in worker.log_lines.getvalue()


def test_unread_body_is_discarded_and_the_connection_closed(start: Callable[..., Running]):
    worker = start()
    data = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 5_000_000
    answer = worker.ask(data)
    assert b"Connection: close" in answer
    assert answer.endswith(b"\r\n\r\nok")


def test_stop_serves_accepted_requests_and_closes_idle_connections(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(contract, "STOP_LINGER_S", 0.3)
    monkeypatch.setattr("gunicorn.workers.gthread.STOP_KEEPALIVE_LINGER", 0.3)
    worker = start(keepalive=30)
    with worker.connect() as silent, worker.connect() as kept, worker.connect() as working:
        kept.sendall(get(b"/"))
        answer = b""
        while not answer.endswith(b"\r\n\r\nok"):
            answer += kept.recv(1000)
        assert b"keep-alive" in answer
        working.sendall(get(b"/slow"))
        time.sleep(0.2)
        begun = time.monotonic()
        worker.worker.handle_exit(15, None)
        assert b"Connection: close" in everything(working)
        assert everything(kept) == b""
        assert everything(silent) == b""
        worker.thread.join(5)
        assert time.monotonic() - begun < 2.5


def test_stop_after_its_timeout_is_logged():
    worker = Running("gevent", graceful_timeout=0)
    with worker.connect() as connection:
        connection.sendall(get(b"/slow"))
        time.sleep(0.2)
        worker.stop()
    assert "Stopping with 1 connections still at work" in worker.log_lines.getvalue()


def test_signal_before_start_stops_the_worker(start: Callable[..., Running]):
    worker = start(stopped=True)
    worker.thread.join(3)
    assert not worker.thread.is_alive()


def test_no_free_descriptors_do_not_end_a_worker(monkeypatch: pytest.MonkeyPatch):
    worker = Running("gthread")

    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("gunicorn.workers.gthread.ThreadWorker.accept", refuse)
    with worker.connect() as connection:
        time.sleep(0.3)
        monkeypatch.undo()
        connection.sendall(get(b"/", b"Connection: close"))
        assert everything(connection).endswith(b"\r\n\r\nok")
    worker.stop()
    assert "Cannot accept a connection: Too many open files" in worker.log_lines.getvalue()


@pytest.mark.parametrize(
    "start_of_connection",
    [
        b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 8000\r\n",
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"
        + bytes([192, 0, 2, 7, 198, 51, 100, 1])
        + b"\x13\x88\x1f\x40",
    ],
    ids=["v1", "v2"],
)
def test_client_of_the_proxy_protocol_applies_to_the_whole_connection(
    start: Callable[..., Running], start_of_connection: bytes
):
    worker = start(proxy_protocol="auto")
    asked = start_of_connection + get(b"/client") * 2 + get(b"/client", b"Connection: close")
    assert worker.ask(asked).count(b"\r\n\r\n192.0.2.7") == 3
    # Not of another connection.
    assert worker.ask(get(b"/client")).endswith(b"\r\n\r\n127.0.0.1")


def test_worker_always_uses_gunicorns_python_parser(start: Callable[..., Running]):
    worker = start(http_parser="auto")
    assert worker.config.http_parser == "python"


@pytest.mark.parametrize("header", [b"Connection: close, x", b"Connection: x\r\nConnection: Close"])
def test_close_among_other_options_closes(start: Callable[..., Running], header: bytes):
    answer = start().ask(get(b"/", header) + get(b"/"))
    assert answer.count(b"\r\n\r\nok") == 1
    assert b"Connection: close" in answer


def test_refused_clients_that_stay_do_not_stop_gthread(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(contract, "DRAIN_TIMEOUT_S", 5.0)
    worker, staying = Running("gthread", threads=4), []
    try:
        for _ in range(12):
            staying.append(worker.connect())
            staying[-1].sendall(b"nonsense\r\n\r\n")
        begun = time.monotonic()
        assert worker.ask(get(b"/")).endswith(b"ok")
        assert time.monotonic() - begun < 4  # each would block a thread for 5 s
    finally:
        for connection in staying:
            connection.close()
        worker.stop()


# The log ------------------------------------------------------------------------------------------


def test_gunicorns_log_is_json(capsys: pytest.CaptureFixture[str]):
    config = Config()
    config.set("accesslog", None)
    log = serving.JsonLogger(config)
    try:
        raise errors.InvalidHeader("x")
    except errors.InvalidHeader:
        log.exception("it is %s", '"quoted"')
    line = json.loads(capsys.readouterr().err)
    assert line["level"] == "error"
    assert line["message"] == 'it is "quoted"'
    assert "InvalidHeader" in line["exception"]
    assert not log.access_log_enabled


# Writing an answer --------------------------------------------------------------------------------


class Recorder:
    """A socket that records each write."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.writes.append(data)


def answering(method: str, headers: list[tuple[str, str]]) -> tuple[BufferedHeadResponse, Recorder]:
    with Talk(f"{method} / HTTP/1.1\r\nHost: x\r\n\r\n".encode()) as talk:
        sock = Recorder()
        answer = BufferedHeadResponse(talk.parser.mesg, sock, Config())
    answer.start_response("200 OK", headers)
    return answer, sock


def test_head_and_first_bytes_of_the_body_are_one_write():
    answer, sock = answering("GET", [("Content-Length", "6")])
    for piece in (b"abc", b"def"):
        answer.write(piece)
    answer.close()
    assert len(sock.writes) == 2
    assert sock.writes[0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert sock.writes[0].endswith(b"\r\n\r\nabc")
    assert sock.writes[1] == b"def"
    assert answer.sock is sock


def test_head_and_first_chunk_are_one_write():
    answer, sock = answering("GET", [])
    answer.write(b"abc")
    answer.close()
    assert sock.writes[0].endswith(b"\r\n\r\n3\r\nabc\r\n")
    assert sock.writes[1:] == [b"0\r\n\r\n"]


def test_head_without_body_is_written():
    answer, sock = answering("HEAD", [("Content-Length", "6")])
    answer.write(b"")
    answer.close()
    assert b"".join(sock.writes).endswith(b"Content-Length: 6\r\n\r\n")


def test_missing_body_does_not_keep_the_socket():
    answer, sock = answering("GET", [("Content-Length", "6")])
    with pytest.raises(TypeError):
        answer.write("text")  # type: ignore[arg-type]
    assert answer.sock is sock


class Slow(Recorder):
    """A socket that records the timeout of each write; each write takes 40 s."""

    def __init__(self, clock: list[float]) -> None:
        super().__init__()
        self.clock, self.given = clock, list[float]()

    def settimeout(self, seconds: float) -> None:
        self.given.append(seconds)

    def sendall(self, data: bytes) -> None:
        self.clock[0] += 40
        super().sendall(data)


@pytest.mark.parametrize("headers", [[("Content-Length", "9")], []], ids=["length", "chunks"])
def test_send_timeout_covers_the_whole_answer(
    headers: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
):
    clock = [1000.0]
    monkeypatch.setattr("app.server.answer.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr("app.server.answer._now", lambda: "now")
    answer, _ = answering("GET", headers)
    answer.sock = sock = Slow(clock)
    answer.deadline = 1100.0
    for piece in (b"abc", b"def", b"ghi"):
        answer.write(piece)
    answer.close()
    assert sock.given[:3] == [100, 60, 20]
    assert set(sock.given[3:]) <= {0.001}
