"""Connections that open at once: when each has its first answer, and how evenly they are served.

The proxy with 1 and 2 workers, and with 2 behind nginx, before a provider that takes 50 ms. All
connections open in one moment; each sends its next request when its answer is complete.
``python -m bench --only connections`` measures it alone.

Jain's index of the answers of all connections is (Σx)² / (n Σx²): 1 where each has as many, 1/n
where one has all (R. Jain, D. Chiu, W. Hawe: A Quantitative Measure of Fairness, 1984).
"""

import select
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.load import READ, LoadError, Request
from bench.runner import Running, say, started
from bench.targets import TARGETS, Place, Setup
from bench.wire import Message

CLIENTS, SECONDS, ROUNDS = 1000, 4.0, 5
SLOW = Setup(delay=0.05)
BY_NAME = {target.name: target for target in TARGETS}


@dataclass(frozen=True)
class Opening:
    """One round of one target."""

    way: str
    last_first_answer: float
    """Seconds from the opening until every connection has had an answer."""
    turns: float
    """Answers until then, for each connection: 1 where none had a second one before."""
    jain: float
    rate: float
    p50: float
    """ms"""
    p99: float
    """ms"""
    cpu: float
    """Processor ms a request."""


def jain(counts: Sequence[float]) -> float:
    """Return Jain's index of fairness."""
    return sum(counts) ** 2 / (len(counts) * sum(count * count for count in counts))


class Crowd:
    """Connections that open at once, and send ``requests`` in turn."""

    def __init__(self, port: int, requests: Sequence[Request], clients: int) -> None:
        self._port, self._requests = port, requests
        self._epoll = select.epoll()
        self._clients = [_Client(number) for number in range(clients)]
        self._by_fd = {client.sock.fileno(): client for client in self._clients}
        self.latencies: list[float] = []
        self.until_last_first = 0

    def run(self, seconds: float) -> tuple[list[float], list[int]]:
        """Return the seconds until the first answer of each connection, and its answers."""
        began = time.perf_counter()
        for fd, client in self._by_fd.items():
            client.sock.connect_ex(("127.0.0.1", self._port))
            self._epoll.register(fd, select.EPOLLOUT)
        end = began + seconds
        try:
            while (now := time.perf_counter()) < end:
                for fd, events in self._epoll.poll(end - now):
                    self._serve(fd, self._by_fd[fd], events, began)
        finally:
            for client in self._clients:
                client.sock.close()
            self._epoll.close()
        if silent := sum(not client.answers for client in self._clients):
            raise LoadError(f"{silent} connections without an answer in {seconds} s")
        return [client.first for client in self._clients], [c.answers for c in self._clients]

    def _serve(self, fd: int, client: "_Client", events: int, began: float) -> None:
        if events & select.EPOLLOUT:  # it is connected
            self._epoll.modify(fd, select.EPOLLIN)
        elif client.take():
            now = time.perf_counter()
            self.latencies.append(now - client.sent)
            if not client.answers:
                client.first, self.until_last_first = now - began, len(self.latencies)
            client.answers += 1
        else:
            return
        client.send(self._requests[(client.number + client.answers) % len(self._requests)])


class _Client:
    """One connection."""

    def __init__(self, number: int) -> None:
        self.number, self.answers, self.first, self.sent = number, 0, 0.0, 0.0
        self.message = Message()
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: Request) -> None:
        self.message.clear()
        self.sent = time.perf_counter()
        self.sock.sendall(request.raw)

    def take(self) -> bool:
        """Read available bytes; return whether the answer is complete."""
        data = self.sock.recv(READ)
        if not data:
            raise LoadError("the target closed a connection")
        if not self.message.feed(data):
            return False
        if self.message.head[9:12] != b"200":
            raise LoadError(repr(self.message.head[:40]))
        return True


@contextmanager
def proxies() -> Iterator[dict[str, tuple[Running, int]]]:
    """Start the proxy in each way; return each, by name, with the port that clients use."""
    with (
        started(SLOW, [BY_NAME["proxy"]]) as (one, _),
        started(replace(SLOW, workers=2), [BY_NAME["proxy"]]) as (two, _),
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
    ):
        alone = ("1 worker", one[0]), ("2 workers", two[0])
        found = {way: (proxy, proxy.server.port) for way, proxy in alone}
        nginx = BY_NAME["nginx"]
        if nginx.missing():
            yield found
            return
        front = nginx.start(replace(SLOW, workers=1), Place(two[0].server.port, Path(folder)))
        try:
            front.await_port()
            yield found | {"2 workers behind nginx": (two[0], front.port)}
        finally:
            front.stop()


def run() -> list[Opening]:
    """Measure all ways in turn; return the rounds of those that served every connection."""
    with proxies() as ways:
        return [
            opening
            for _ in range(ROUNDS)
            for way, (one, port) in ways.items()
            if (opening := _measure(way, one, port))
        ]


def _measure(way: str, one: Running, port: int) -> Opening | None:
    say(f"connections: {way}")
    try:
        return measure(one, port, way)
    except (LoadError, OSError) as error:
        say(f"  failed: {error}")
        return None


def measure(
    one: Running, port: int, way: str = "", clients: int = CLIENTS, seconds: float = SECONDS
) -> Opening:
    """Open connections to a port for some seconds; the processor time is that of the proxy."""
    crowd = Crowd(port, one.requests(1, "base64"), clients)
    before = one.server.cpu()
    firsts, answers = crowd.run(seconds)
    ordered = sorted(crowd.latencies)
    return Opening(
        way,
        max(firsts),
        crowd.until_last_first / clients,
        jain(answers),
        len(ordered) / seconds,
        1000 * statistics.median(ordered),
        1000 * ordered[int(0.99 * (len(ordered) - 1))],
        1000 * (one.server.cpu() - before) / len(ordered),
    )
