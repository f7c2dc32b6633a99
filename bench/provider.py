"""A fast OpenAI-shaped upstream: ``python -m bench.provider PORT [--delay S] [--slots N] …``.

One thread around epoll. It takes about 20 µs for a small call, so the gateway in front of it is
measured. ``GET /stats`` returns the numbers of calls and items served.
"""

import argparse
import heapq
import select
import socket
import time
from collections import deque
from functools import lru_cache

import orjson

from bench.answers import answers, request_items
from bench.wire import Message

READ = 1 << 18


class Connection:
    """One client's socket, the request being read from it and the answer being written to it."""

    __slots__ = ("message", "sock", "stuck", "unsent")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.message = Message()
        self.unsent = memoryview(b"")
        self.stuck = False  # the socket's buffer is full; epoll reports when it is not


class Provider:
    """Answers embedding calls after ``delay`` seconds, and ``item_delay`` more for each input, at
    most ``slots`` at a time."""

    def __init__(
        self, port: int, width: int, delay: float, slots: int, item_delay: float = 0.0
    ) -> None:
        self._width, self._delay, self._slots = width, delay, slots or 1 << 30
        self._item_delay = item_delay
        self._listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._listener.setblocking(False)
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._connections: dict[int, Connection] = {}
        self._due: list[tuple[float, int, Connection, bytes]] = []  # being "computed"; a heap
        self._queue: deque[tuple[Connection, bytes, float]] = deque()  # waiting for a slot
        self._stats = {"calls": 0, "items": 0, "most_at_once": 0}
        self._answer = lru_cache(maxsize=4)(self._make_answer)  # large batches are repeated

    def run(self) -> None:
        """Serve until killed."""
        while True:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else -1
            for fd, events in self._epoll.poll(wait):
                if fd == self._listener.fileno():
                    self._accept()
                elif events & select.EPOLLOUT:
                    self._write(self._connections[fd])
                else:
                    self._read(self._connections[fd])
            self._finish_due()

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections[sock.fileno()] = Connection(sock)
        self._epoll.register(sock, select.EPOLLIN)

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(READ)
        except ConnectionError:
            data = b""
        if not data:
            self._close(connection)
        elif connection.message.feed(data):
            head, body = connection.message.head, connection.message.body()
            connection.message.clear()
            self._serve(connection, head, body)

    def _serve(self, connection: Connection, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET"):
            self._send(connection, _http(orjson.dumps(self._stats)))
            return
        items, answer = self._answer(body) if len(body) > 1024 else self._make_answer(body)
        self._stats["calls"] += 1
        self._stats["items"] += items
        delay = self._delay + items * self._item_delay
        if not delay:
            self._send(connection, answer)
        elif len(self._due) < self._slots:
            self._compute(connection, answer, delay)
        else:
            self._queue.append((connection, answer, delay))

    def _make_answer(self, body: bytes) -> tuple[int, bytes]:
        payload = orjson.loads(body)
        items = request_items(payload)
        encoding = payload.get("encoding_format") or "float"
        return len(items), _http(answers(self._width).body(items, encoding))

    def _compute(self, connection: Connection, answer: bytes, delay: float) -> None:
        due = time.monotonic() + delay
        heapq.heappush(self._due, (due, connection.sock.fileno(), connection, answer))
        self._stats["most_at_once"] = max(self._stats["most_at_once"], len(self._due))

    def _finish_due(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            _, _, connection, answer = heapq.heappop(self._due)
            self._send(connection, answer)
            if self._queue:
                self._compute(*self._queue.popleft())

    def _send(self, connection: Connection, answer: bytes) -> None:
        connection.unsent = memoryview(answer)
        self._write(connection)

    def _write(self, connection: Connection) -> None:
        try:
            connection.unsent = connection.unsent[connection.sock.send(connection.unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._close(connection)
            return
        stuck = bool(connection.unsent)
        if stuck != connection.stuck:
            connection.stuck = stuck
            self._epoll.modify(connection.sock, select.EPOLLOUT if stuck else select.EPOLLIN)

    def _close(self, connection: Connection) -> None:
        if connection.sock.fileno() >= 0:
            del self._connections[connection.sock.fileno()]
            connection.sock.close()


def _http(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--width", type=int, default=1536)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds a call takes")
    parser.add_argument("--item-delay", type=float, default=0.0, help="… and each input more")
    parser.add_argument("--slots", type=int, default=0, help="calls served at once; 0: no limit")
    given = parser.parse_args()
    Provider(given.port, given.width, given.delay, given.slots, given.item_delay).run()


if __name__ == "__main__":
    main()
