"""What the server answers to invalid HTTP and to broken bodies: errors in JSON, without secrets."""

import json
import socket

import pytest

from tests.e2e.plain import LINE, Plain, connect, read_all
from tests.e2e.plain_server import server as server
from tests.e2e.plain_server import worker_class as worker_class

SECRET = "sk-planted-secret"
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
