"""Answers that never end: behaviours of an `Upstream`."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.support.upstream import Exchange
from tests.support.wire import head

FOREVER = None


def silence(exchange: Exchange) -> None:
    """Accept the request and send nothing."""
    exchange.closed_within(FOREVER)
    exchange.last = True


def drip_headers(exchange: Exchange) -> None:
    """Send status line and headers byte by byte."""
    exchange.drip(head(200, {"Content-Length": "20", "X-Padding": "p" * 4000}))
    exchange.last = True


def drip_header_lines(exchange: Exchange) -> None:
    """Send complete header lines, and never the last."""
    exchange.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        exchange.send(b"X-Padding: p\r\n")
        if exchange.closed_within(0.05):
            break
    exchange.last = True


def drip_continues(exchange: Exchange) -> None:
    """Send interim answers (100 Continue), and never the final one."""
    while True:
        exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if exchange.closed_within(0.05):
            break
    exchange.last = True


def drip_body(exchange: Exchange) -> None:
    """Send proper headers, then a good answer byte by byte."""
    body = json.dumps(exchange.answer()).encode()
    exchange.send(head(200, {"Content-Length": str(len(body))}))
    exchange.drip(body)
    exchange.last = True


def drip_chunks(exchange: Exchange) -> None:
    """Send proper headers, then a good answer in chunks of one byte."""
    exchange.send(head(200, {"Transfer-Encoding": "chunked"}))
    for byte in json.dumps(exchange.answer()).encode():
        exchange.send(b"1\r\n%c\r\n" % byte)
        if exchange.closed_within(0.1):
            break
    exchange.last = True


def half_then_stall(exchange: Exchange) -> None:
    """Send half of a good answer, and nothing more."""
    body = json.dumps(exchange.answer()).encode()
    exchange.send(head(200, {"Content-Length": str(len(body))}) + body[: len(body) // 2])
    silence(exchange)


def half_head_then_stall(exchange: Exchange) -> None:
    """Send half of the headers, and nothing more."""
    exchange.send(head(200, {"Content-Length": "20"})[:25])
    silence(exchange)


def never_close(exchange: Exchange) -> None:
    """Send a good answer that ends with the connection, and never close it."""
    exchange.send(head(200, {}) + json.dumps(exchange.answer()).encode())
    silence(exchange)


def error_then_stall(exchange: Exchange) -> None:
    """Send a 500 with a Content-Length and no body."""
    exchange.send(head(500, {"Content-Length": "5000"}) + b'{"error"')
    silence(exchange)


def drip_error(exchange: Exchange) -> None:
    """Send a 400 whose body comes byte by byte."""
    exchange.send(head(400, {"Content-Length": "5000"}))
    exchange.drip(b" " * 5000)
    exchange.last = True


def flood(exchange: Exchange) -> None:
    """Send an endless body, as fast as the proxy reads it."""
    exchange.send(head(200, {}) + b'{"data": "')
    while not exchange.closed_within(0):
        exchange.send(b"x" * 65536)
    exchange.last = True


STALLS = [
    silence,
    drip_headers,
    drip_header_lines,
    drip_continues,
    drip_body,
    drip_chunks,
    half_then_stall,
    half_head_then_stall,
    never_close,
    error_then_stall,
    drip_error,
]


@contextmanager
def closed_port() -> Iterator[str]:
    """Return the base_url of a provider that refuses connections."""
    with socket.socket() as holder:  # bound, so that the port stays reserved; not listening
        holder.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{holder.getsockname()[1]}/v1"


@contextmanager
def black_hole() -> Iterator[str]:
    """Return the base_url of a provider that never completes a connection: its backlog is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
