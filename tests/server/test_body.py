"""Bodies of requests: read whole, refused, or discarded within bounds."""

import socket
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wsgi import get_input_stream

from app.concurrency import yielding
from app.server import body
from tests.server.talk import Talk, chunked, sized
from tests.support.clock import Clock

SECRET = "sk-planted-secret"


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
        talk.unreader.expect(60)
        before = talk.unreader.deadline
        talk.client.sendall(b"def")
        assert talk.unreader.chunk() == b"def"
        assert talk.unreader.deadline == pytest.approx(before + 0.03)


def test_other_requests_go_on_while_a_body_is_read(monkeypatch: pytest.MonkeyPatch):
    """gevent's recv does not switch while bytes are there: millions of tiny chunks take seconds."""
    clock, yields = Clock(100.0), list[float]()
    monkeypatch.setattr(yielding, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(yielding, "yield_control", lambda: yields.append(clock.now))
    client, server = socket.socketpair()
    with client, server:
        client.sendall(b"x" * 50_000)
        unreader = body.Unreader(server)
        for clock.now in (100.0, 100.002, 100.004, 100.006, 100.0075):
            unreader.chunk()
        clock.now = 200.0
        unreader.expect()
        unreader.chunk()
    assert yields == [100.004, 100.0075]


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

    assert swallow(20, end=True) < 10
    assert swallow(0, end=False) < 10  # and not for ever
    assert 0.15 < swallow(0.2, end=False) < 10
    monkeypatch.setattr(body, "MAX_DRAIN_BYTES", 500)
    assert swallow(20, end=False) < 10


def test_closing_twice_is_no_error():
    client, server = socket.socketpair()
    client.close()
    server.close()
    body.close_after_answer(server, 1)
