"""gunicorn's gevent worker."""

from __future__ import annotations

import contextlib
import functools
import socket
import time
from typing import Any

import gevent
from gevent.event import Event
from gevent.pool import Pool
from gevent.server import StreamServer
from gevent.socket import wait
from gunicorn.http import get_parser  # type: ignore[import-untyped]
from gunicorn.sock import ssl_context  # type: ignore[import-untyped]
from gunicorn.workers import ggevent  # type: ignore[import-untyped]

from app.concurrency.yielding import YIELD_SLEEP_S
from app.server import base_worker, body
from app.server.balance import PAUSE_S, ConnectionCount, waiting_connections
from app.server.base_worker import ACCEPT_RETRY_S, BaseWorker
from app.server.body import Unreader
from app.server.request import Request

#: The event of a watcher of gevent's loop: bytes can be read. It is libev's and libuv's.
_READ = 1


class _BalancedServer(StreamServer):  # type: ignore[misc]
    """gevent's server, which accepts this worker's share of the connections that wait."""

    max_accept = 1000

    def __init__(
        self, sock: Any, handle: Any, pool: Pool, count: ConnectionCount, log: Any, **options: Any
    ) -> None:
        super().__init__(sock, handle, spawn=pool, **options)
        self._count = count
        self._log = log
        self._share = 0  # connections to accept until the counts are compared again
        self._pause: Any = None

    def do_read(self) -> Any:
        """Accept a connection; return None where none waits, or it is left to other workers."""
        if not self._share:
            waiting = waiting_connections(self.socket)
            if not waiting:
                return None
            self._share = self._count.share(waiting)
            if not self._share:
                self._pause_accepting(PAUSE_S)
                return None
        self._share -= 1
        try:
            accepted = super().do_read()
        except OSError as error:
            # No free file descriptor, for instance. gevent would print a traceback.
            self._log.error("Cannot accept a connection: %s", error.strerror)
            self._pause_accepting(ACCEPT_RETRY_S)
            accepted = None
        if accepted:
            self._count.add(1)
        else:
            self._share = 0
        return accepted

    def do_close(self, sock: Any, *args: Any) -> None:
        super().do_close(sock, *args)
        self._count.add(-1)

    def _pause_accepting(self, seconds: float) -> None:
        self.stop_accepting()
        self._pause = self.loop.timer(seconds)
        self._pause.start(self._end_pause)

    def _end_pause(self) -> None:
        if self.started:
            self._share = self._count.share_after_pause(waiting_connections(self.socket))
            self.start_accepting()
            self._do_read()  # not in the next turn of the loop, which a busy worker reaches late


class GeventWorker(BaseWorker, ggevent.GeventWorker):  # type: ignore[misc]
    """gunicorn's gevent worker that also records idle connections, as gthread does."""

    #: Set by gunicorn's hook before the fork, `app.server.configuration.pre_fork`.
    connection_count: ConnectionCount | None = None
    _stopping: Any = None

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        if self._stopping:
            self._stopping.set()  # gunicorn checks once a second

    def run(self) -> None:
        self._stopping, self._idle = Event(), dict[Any, float]()
        connections = Pool(self.worker_connections)
        options = {"ssl_context": ssl_context(self.cfg)} if self.cfg.is_ssl else {}
        count = self.connection_count
        if count is None or self.cfg.reuse_port:  # then others cannot accept what waits here
            count = ConnectionCount()
        count.start_accepting()
        servers = []
        for sock in self.sockets:
            # By name: the listener is closed before its last connections are served.
            handle = functools.partial(self.handle, sock.getsockname())
            servers.append(_BalancedServer(sock, handle, connections, count, self.log, **options))
            servers[-1].start()
        while self.alive:
            self.notify()
            self._close_idle(time.monotonic() - (self.cfg.keepalive or body.IDLE_CLIENT_TIMEOUT_S))
            self._stopping.wait(1.0)

        count.stop_accepting()
        for server in servers:
            server.stop_accepting()
            with contextlib.suppress(OSError):
                while not connections.full() and (accepted := server.do_read()):
                    server.do_handle(*accepted)
            server.close()
        idle_until = time.monotonic() + base_worker.STOP_IDLE_TIMEOUT_S
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while not connections.join(0.25) and time.monotonic() < deadline:
            self.notify()
            if time.monotonic() >= idle_until:
                self._close_idle(time.monotonic())
        if len(connections):
            self.log.warning("Stopping with %d connections still at work", len(connections))

    def _close_idle(self, since: float) -> None:
        """Close the connections that have been idle since a time, or longer.

        Once a second for all, since a timer for each wait costs a hundredth of a short request.
        """
        for sock, begun in list(self._idle.items()):  # oldest first
            if begun > since:
                return
            # Not closed completely: a request that has just arrived is still read.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RD)

    def handle(self, listener_name: Any, client: Any, addr: Any) -> None:
        parser = get_parser(self.cfg, client, addr)
        parser.unreader = unreader = Unreader(client)
        parser.mesg_class = Request
        loop = gevent.get_hub().loop
        arrival = loop.io(client.fileno(), _READ)
        answer = functools.partial(self._answer, listener_name, client, addr)
        alive = True
        try:
            while alive:
                turn = loop.iteration
                if not unreader.buf.getvalue() and not self._receive(client, unreader, arrival):
                    break
                alive = self.serve_request(parser, client, addr, answer)
                if loop.iteration == turn:
                    # Other greenlets first: a client that does not wait for its answers, so that
                    # more requests are in the buffer, would starve the others. After a sleep of 0
                    # gevent would look for what has arrived only every 50 requests.
                    gevent.sleep(YIELD_SLEEP_S)
        finally:
            arrival.close()

    def _receive(self, client: Any, unreader: Unreader, arrival: Any) -> bool:
        """Read the first bytes of the next request; return whether there are any.

        ``arrival`` is a watcher of bytes that arrive. Other greenlets run while it is waited for,
        even where some have arrived: without that, one busy client would starve the others (32
        clients: p50 0.2 ms, p99 150 ms). To read first, as gevent's `recv` does, mostly fails, and
        would cost a short request 3 % more.
        """
        self._idle[client] = time.monotonic()
        timeout = None if self.alive else base_worker.STOP_IDLE_TIMEOUT_S
        try:
            if not self.cfg.is_ssl:  # TLS may hold bytes that have left the socket
                wait(arrival, timeout)
            client.settimeout(timeout)
            data = client.recv(unreader.mxchunk)
        except OSError:
            return False
        finally:
            del self._idle[client]
        unreader.unread(data)
        return bool(data)

    def _answer(self, listener_name: Any, client: Any, addr: Any, req: Any) -> Any:
        return self.handle_request(listener_name, req, client, addr)
