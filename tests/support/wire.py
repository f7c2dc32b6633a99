"""Minimal HTTP/1.1: reads a request, writes the head of an answer."""

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, BinaryIO


@dataclass(frozen=True)
class Request:
    """A request, its header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body; ValueError if it is not JSON."""
        return json.loads(self.body)


def read_request(stream: BinaryIO) -> Request | None:
    """Return the next request of a connection, or None at its end."""
    line = stream.readline()
    if not line.strip():
        return None
    method, path, _ = line.decode("latin-1").split()
    headers = _read_headers(stream)
    return Request(method, path, headers, _read_body(stream, headers))


def _read_headers(stream: BinaryIO) -> dict[str, str]:
    headers = {}
    while line := stream.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    return headers


def _read_body(stream: BinaryIO, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return stream.read(int(headers.get("content-length", 0)))
    body = b""
    while size := int(stream.readline(), 16):
        body += stream.read(size)
        stream.readline()
    stream.readline()
    return body


def head(status: int, headers: dict[str, str]) -> bytes:
    """Return status line and headers of an answer in JSON."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    fields = {"Content-Type": "application/json", **headers}
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunked(*chunks: bytes) -> bytes:
    """Return a body in chunks, with its end."""
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
