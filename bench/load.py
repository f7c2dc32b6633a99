"""A closed loop of keep-alive clients around epoll: each sends again when its answer is complete.

It takes about 25 µs for a small answer, little in comparison with any gateway. Processor time is
read from the gateway's own processes, so a slow client lowers requests/s but not ms/request.
"""

import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.wire import Message

READ = 1 << 16
DRAIN = 60.0
"""Seconds that answers still under way at the end may take."""


class LoadError(Exception):
    """The target did not answer 200, closed a connection, or was silent too long."""


@dataclass(frozen=True)
class Request:
    """Prebuilt bytes of a request, and its items, to check answers."""

    raw: bytes
    items: tuple


@dataclass
class Outcome:
    """The results of a load run. Times are seconds of perf_counter."""

    started: float = 0.0
    planned_end: float = 0.0
    ended: float = 0.0
    latencies: list[float] = field(default_factory=list)
    in_time: int = 0
    samples: dict[tuple[Request, int], bytes] = field(default_factory=dict)
    """One answer for each request and body length seen. Another answer of the same length to
    the same request is taken as good."""

    def rate(self) -> float:
        """Answers per second within the planned window, or of all if it was too short."""
        if self.in_time < 10:
            return len(self.latencies) / (self.ended - self.started)
        return self.in_time / (self.planned_end - self.started)


class Load:
    """``clients`` connections to one port, which send ``requests`` in turn."""

    def __init__(self, port: int, requests: Sequence[Request], clients: int) -> None:
        self._requests = requests
        self._turn = 0
        self._epoll = select.epoll()
        self._clients = [_Client(port) for _ in range(clients)]
        self._by_fd = {client.sock.fileno(): client for client in self._clients}
        for fd in self._by_fd:
            self._epoll.register(fd, select.EPOLLIN)

    def run(
        self, seconds: float, warm_up: float = 0.0, on_start: Callable[[], None] = lambda: None
    ) -> Outcome:
        """Load for ``warm_up``, call ``on_start``, load for ``seconds``, wait for open requests."""
        outcome = Outcome()
        warm_until = time.perf_counter() + warm_up
        for client in self._clients:
            self._send(client)
        if warm_up:
            self._until(warm_until, Outcome(samples=outcome.samples), closing=False)
        on_start()
        outcome.started = time.perf_counter()
        outcome.planned_end = outcome.started + seconds
        self._until(outcome.planned_end, outcome, closing=False)
        outcome.in_time = len(outcome.latencies)
        self._until(time.perf_counter() + DRAIN, outcome, closing=True)
        outcome.ended = time.perf_counter()
        self._close()
        return outcome

    def _until(self, end: float, outcome: Outcome, *, closing: bool) -> None:
        """Handle answers until ``end``; when ``closing``, send no more and stop after the last."""
        clock = time.perf_counter
        while (now := clock()) < end:
            if closing and not any(client.request for client in self._clients):
                return
            for fd, _ in self._epoll.poll(end - now):
                client = self._by_fd[fd]
                if client.take():
                    outcome.latencies.append(clock() - client.sent)
                    client.check(outcome.samples)
                    if not closing:
                        self._send(client)
        if closing:
            raise LoadError(f"no answer within {DRAIN:.0f} s")

    def _send(self, client: "_Client") -> None:
        self._turn += 1
        client.send(self._requests[self._turn % len(self._requests)])

    def _close(self) -> None:
        self._epoll.close()
        for client in self._clients:
            client.sock.close()


class _Client:
    """One connection and its open request."""

    __slots__ = ("message", "request", "sent", "sock")

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.message = Message()
        self.request: Request | None = None
        self.sent = 0.0

    def send(self, request: Request) -> None:
        self.request = request
        self.message.clear()
        self.sent = time.perf_counter()
        self.sock.sendall(request.raw)

    def take(self) -> bool:
        """Read available bytes; return True when the answer is complete."""
        data = self.sock.recv(READ)
        if not data:
            raise LoadError("the target closed a connection")
        return self.message.feed(data)

    def check(self, samples: dict[tuple[Request, int], bytes]) -> None:
        if self.message.head[9:12] != b"200":
            body = self.message.body()[:200].decode(errors="replace")
            raise LoadError(f"{self.message.head[:40].decode(errors='replace')!r}: {body}")
        key = (self.request, self.message.size())
        if key not in samples:
            samples[key] = self.message.body()
        self.request = None
