"""A scriptable embeddings provider in OpenAI's style, on a real socket.

    with Upstream(width=32) as upstream:
        upstream.script(behaviours.silence)     # the next call; good ones follow
        upstream.always(behaviours.not_json)    # every call from now on
        upstream.reset()                        # good answers, no recorded calls

It uses plain sockets, so that it can break HTTP itself.
"""

import contextlib
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Self

from tests.support import openai_style
from tests.support.wire import Request, head, read_request

API_KEY = "sk-upstream-5up3r-5ecret-do-not-tell"


@dataclass
class Call:
    """One request as the provider received it."""

    path: str
    headers: dict[str, str]
    body: Any
    connection: int
    time: float = field(default_factory=time.monotonic)
    hung_up: threading.Event = field(default_factory=threading.Event)

    @property
    def items(self) -> list:
        """The texts or token lists of this call."""
        return openai_style.items_of(self.body["input"])


class Exchange:
    """The request and the connection, for a behaviour."""

    def __init__(self, upstream: "Upstream", connection: socket.socket, call: Call) -> None:
        self.upstream, self.connection, self.call = upstream, connection, call
        self.last = False  # set: the connection is closed after this answer

    def send(self, data: bytes) -> None:
        """Send bytes to the proxy unchanged."""
        try:
            self.connection.sendall(data)
        except OSError:
            self.call.hung_up.set()
            raise

    def reply(self, status: int, body: Any, **headers: str) -> None:
        """Send a complete, correctly framed answer; anything but bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send(head(status, {"Content-Length": str(len(data)), **headers}) + data)

    def answer(self) -> dict[str, Any]:
        """Return the good answer to this request; raise `openai_style.Refused` if there is none."""
        return openai_style.answer(self.call.body, self.upstream.width, self.upstream.strict)

    def closed_within(self, seconds: float | None) -> bool:
        """Wait; return True when the proxy has closed the connection (or the test is over)."""
        ready, _, _ = select.select([self.connection, self.upstream.over], [], [], seconds)
        if self.connection in ready:
            with contextlib.suppress(OSError):
                if self.connection.recv(1, socket.MSG_PEEK):
                    return False
            self.call.hung_up.set()
        return bool(ready)

    def drip(self, data: bytes, interval: float = 0.1) -> None:
        """Send byte by byte, slowly, until the proxy closes the connection."""
        for byte in data:
            self.send(bytes([byte]))
            if self.closed_within(interval):
                return


Behaviour = Callable[[Exchange], None]


def good(exchange: Exchange) -> None:
    """Answer as OpenAI does, or refuse as OpenAI does."""
    try:
        if exchange.call.headers.get("authorization") != f"Bearer {exchange.upstream.api_key}":
            raise openai_style.Refused(401, "Incorrect API key provided.", code="invalid_api_key")
        exchange.reply(200, exchange.answer())
    except openai_style.Refused as refused:
        exchange.reply(refused.status, refused.body)


class Upstream:
    """The provider: a context manager, listening on a free port of the loopback address."""

    def __init__(self, width: int = 32, *, strict: bool = True, api_key: str = API_KEY) -> None:
        self.width, self.strict, self.api_key = width, strict, api_key
        self._changed = threading.Condition()  # guards calls and the two script fields
        self.calls: list[Call] = []
        self._queue: list[Behaviour] = []
        self._default: Behaviour = good
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def script(self, *behaviours: Behaviour) -> None:
        """Set behaviours of the next calls, one each; later calls are answered as before."""
        with self._changed:
            self._queue.extend(behaviours)

    def always(self, behaviour: Behaviour) -> None:
        """Set the behaviour of all further calls."""
        with self._changed:
            self._queue, self._default = [], behaviour

    def reset(self) -> None:
        """Answer well again, and forget recorded calls."""
        with self._changed:
            self._queue, self._default, self.calls = [], good, []

    def wait_for_calls(self, number: int, seconds: float = 20) -> list[Call]:
        """Wait for a number of calls, and return them."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.calls) >= number, seconds)
            assert arrived, f"{len(self.calls)} of {number} calls after {seconds} s"
            return list(self.calls)

    @property
    def seen(self) -> list:
        """Return every item of all calls, in order of arrival."""
        return [item for call in self.calls for item in call.items]

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listener.getsockname()[1]
        self.over, self._end = socket.socketpair()  # `over` is readable when the provider stops
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.close()
        self._listener.shutdown(socket.SHUT_RDWR)
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()
        self.over.close()

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            for number in count(1):
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open.add(connection)
                self._start(self._serve, connection, number)

    def _serve(self, connection: socket.socket, number: int) -> None:
        with connection, contextlib.suppress(OSError, ValueError):
            for request in self._requests(connection):
                call = Call(request.path, request.headers, request.json(), number)
                exchange = Exchange(self, connection, call)
                self._next(call)(exchange)
                if exchange.last:
                    break
        self._open.discard(connection)

    def _requests(self, connection: socket.socket) -> Iterator[Request]:
        with connection.makefile("rb") as stream:
            while request := read_request(stream):
                yield request

    def _next(self, call: Call) -> Behaviour:
        with self._changed:
            self.calls.append(call)
            self._changed.notify_all()
            return self._queue.pop(0) if self._queue else self._default
