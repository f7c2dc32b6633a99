"""Both workers over real sockets, without a fork. tests/e2e/test_server.py has the whole server."""

import errno
import io
import itertools
import json
import logging
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from app.server import base_worker, body, threads
from tests.server.running import Running, everything, get
from tests.support.server import eventually

SECRET = "sk-planted-secret"


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
        assert time.monotonic() - begun > 0.9


def test_a_busy_client_does_not_starve_the_others(start: Callable[..., Running]):
    worker, paths, is_served = start(), list[str](), threading.Event()
    with worker.connect() as busy, worker.connect() as other:
        other.sendall(get(b"/"))
        assert other.recv(1000).endswith(b"ok")

        def record(path: str) -> None:
            paths.append(path)
            if len(paths) == 10:  # more of the busy client are in the worker's buffer
                other.sendall(get(b"/other"))
            if path == "/other":
                is_served.set()
            elif len(paths) == 13 and worker.worker_class == "gthread":
                is_served.wait(10)  # its other threads may get no core for a while

        worker.on_request = record
        busy.sendall(get(b"/busy") * 99 + get(b"/busy", b"Connection: close"))
        assert everything(busy).count(b"\r\n\r\nok") == 100
    assert 10 <= paths.index("/other") < 15


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
    monkeypatch.setattr(base_worker, "STOP_IDLE_TIMEOUT_S", 0.3)
    monkeypatch.setattr("gunicorn.workers.gthread.STOP_KEEPALIVE_LINGER", 0.3)
    worker = start(keepalive=30)
    with worker.connect() as silent, worker.connect() as kept, worker.connect() as working:
        kept.sendall(get(b"/"))
        answer = b""
        while not answer.endswith(b"\r\n\r\nok"):
            answer += kept.recv(1000)
        assert b"keep-alive" in answer
        working.sendall(get(b"/slow"))
        assert worker.is_slow.wait(20)
        begun = time.monotonic()
        worker.worker.handle_exit(15, None)
        worker.may_end.set()
        assert b"Connection: close" in everything(working)
        assert everything(kept) == b""
        assert everything(silent) == b""
        worker.thread.join(20)
        assert time.monotonic() - begun < 15  # a kept connection may be idle for 30


def test_app_is_told_how_long_a_request_has_waited_for_a_thread(monkeypatch: pytest.MonkeyPatch):
    """Its deadline counts from its arrival, and not from when one of the threads was free."""
    seconds = itertools.count()  # one for each reading: when it is queued, when a thread takes it
    clock = SimpleNamespace(monotonic=lambda: float(next(seconds)), sleep=time.sleep)
    monkeypatch.setattr(threads, "time", clock)
    worker = Running("gthread")
    assert worker.ask(get(b"/waited", b"Connection: close")).endswith(b"\r\n\r\n1.00")
    worker.stop()


def test_stop_after_its_timeout_is_logged():
    worker = Running("gevent", graceful_timeout=0)
    with worker.connect() as connection:
        connection.sendall(get(b"/slow"))
        assert worker.is_slow.wait(20)
        worker.worker.handle_exit(15, None)
        logged = "Stopping with 1 connections still at work"
        eventually(lambda: logged in worker.log_lines.getvalue())
        worker.stop()


def test_signal_before_start_stops_the_worker(start: Callable[..., Running]):
    worker = start(stopped=True)
    worker.thread.join(20)
    assert not worker.thread.is_alive()


@pytest.mark.parametrize(
    ("worker_class", "accept"),
    [
        ("gthread", "gunicorn.workers.gthread.ThreadWorker.accept"),
        ("gevent", "gevent.server.StreamServer.do_read"),
    ],
)
def test_no_free_descriptors_do_not_end_a_worker(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    worker_class: str,
    accept: str,
):
    worker, refused_at = Running(worker_class), list[float]()

    def refuse(*_: object) -> None:
        refused_at.append(time.monotonic())
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(accept, refuse)
    with worker.connect() as connection:
        eventually(lambda: len(refused_at) >= 3)
        monkeypatch.undo()
        connection.sendall(get(b"/", b"Connection: close"))
        assert everything(connection).endswith(b"\r\n\r\nok")
    worker.stop()
    assert "Cannot accept a connection: Too many open files" in worker.log_lines.getvalue()
    # Not one for each turn of a loop.
    most = (refused_at[-1] - refused_at[0]) / base_worker.ACCEPT_RETRY_S + 2
    assert worker.log_lines.getvalue().count("\n") <= most
    assert "Traceback" not in capfd.readouterr().err  # in the place of a line of JSON


def test_connection_is_served_though_no_descriptor_is_free_to_wait_for_it(
    monkeypatch: pytest.MonkeyPatch,
):
    """gunicorn waits by a selector, which takes a descriptor; it closed the connection instead."""
    worker = Running("gthread")

    def refuse() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("gunicorn.workers.gthread.selectors.DefaultSelector", refuse)
    try:
        assert worker.ask(get(b"/", b"Connection: close")).endswith(b"\r\n\r\nok")
    finally:
        worker.stop()


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
    monkeypatch.setattr(base_worker, "DRAIN_TIMEOUT_S", 60.0)
    worker, staying = Running("gthread", threads=4), []
    try:
        for _ in range(12):
            staying.append(worker.connect())
            staying[-1].sendall(b"nonsense\r\n\r\n")
        assert worker.ask(get(b"/")).endswith(b"ok")  # each would block a thread for a minute
    finally:
        for connection in staying:
            connection.close()
        worker.stop()
