"""`plain_app` under the real gunicorn with the real configuration, and a load generator."""

import contextlib
import http.client
import select
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from tests.support.server import Proxy
from tests.support.settings import KEY


class Plain(Proxy):
    """A `Proxy` that serves `plain_app`, which needs no settings."""

    def __init__(self, directory: Path, worker_class: str, *arguments: str, **options: Any) -> None:
        super().__init__(
            directory,
            worker_class=worker_class,
            arguments=arguments,
            **{"ALPHANEURAL_API_KEY": "sk-any", **options},
        )
        app = "tests.e2e.plain_app:app"
        self._command = [app if word == "wsgi:app" else word for word in self._command]


class Clients(ABC):
    """Threads that send requests until the block ends: a context manager.

    `lost` lists requests without an answer.
    """

    def __init__(self, port: int, clients: int) -> None:
        self.port, self.clients = port, clients
        self.lost: list[Any] = []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    @abstractmethod
    def _ask(self) -> None:
        """Send requests until ``_end`` is set; run by each thread."""


class Load(Clients):
    """Clients that send requests over kept connections.

    `lost` also lists answers with another status than 200. A refused connection is not lost:
    nothing was sent.
    """

    def __init__(self, port: int, clients: int = 8, path: str = "/sleep/0.02") -> None:
        super().__init__(port, clients)
        self.path = path
        self.answered, self.refused = 0, 0
        self.pids: set[int] = set()

    def _ask(self) -> None:
        while not self._end.is_set():
            with _connection(self.port) as connection:
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    self.refused += 1
                    time.sleep(0.05)
                    continue
                kept = True
                while kept and not self._end.is_set() and not was_closed(connection):
                    kept = self._once(connection)

    def _once(self, connection: http.client.HTTPConnection) -> bool:
        try:
            connection.request("POST", self.path, b'{"input": "x"}', {"X-Kind": "load"})
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.lost.append(error)
            return False
        if answer.status == 200:
            self.answered += 1
        else:
            self.lost.append((answer.status, body))
        return not answer.will_close


@contextlib.contextmanager
def _connection(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        # http.client would reconnect by itself, and hide a lost request.
        connection.auto_open = 0
        yield connection


def was_closed(connection: http.client.HTTPConnection) -> bool:
    """Whether the server has closed a connection without a request: then none is lost.

    While a server stops, it keeps idle ones for two seconds, and a client may have no processor.
    """
    return bool(select.select([connection.sock], [], [], 0)[0])


LINE = b"POST /x HTTP/1.1\r\nHost: x\r\n"


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


def too_large_request(framing: str) -> bytes:
    """Return a request of 40 MiB with a "length" or "chunked", over every limit."""
    data = b"x" * (40 * 2**20)
    head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n".encode()
    if framing == "chunked":
        return b"%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (
            head,
            len(data),
            data,
        )
    return b"%sContent-Length: %d\r\n\r\n%s" % (head, len(data), data)
