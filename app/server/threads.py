"""gunicorn's gthread worker."""

from __future__ import annotations

import functools
import threading
import time
from typing import Any

from gunicorn.workers import gthread  # type: ignore[import-untyped]

from app.server import base_worker
from app.server.base_worker import BaseWorker
from app.server.body import Unreader, close_after_answer
from app.server.request import Request

#: Share of the threads that may wait at the same time for refused clients to stop sending.
DRAIN_SHARE = 1 / 4


class ThreadWorker(BaseWorker, gthread.ThreadWorker):  # type: ignore[misc]
    """gunicorn's gthread worker that waits for clients only in the poller."""

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self._drains = threading.Semaphore(max(1, int(self.cfg.threads * DRAIN_SHARE)))

    def close_after_answer(self, sock: Any, timeout_s: float) -> None:
        """Discard what a client sends; do not wait if a quarter of the threads already do.

        300 clients that send nonsense and stay would hold all threads, 5 s each.
        """
        if not timeout_s or not self._drains.acquire(blocking=False):
            close_after_answer(sock, 0)
            return
        try:
            close_after_answer(sock, timeout_s)
        finally:
            self._drains.release()

    def accept(self, listener: Any) -> bool:
        """Accept a connection; return whether there was one."""
        before = self.nr_conns
        try:
            super().accept(listener)
        except OSError as error:
            # No free file descriptor, for instance. gunicorn would end the worker and all its
            # requests.
            self.log.error("Cannot accept a connection: %s", error.strerror)
            time.sleep(base_worker.ACCEPT_RETRY_S)
        return bool(self.nr_conns > before)

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if enabled or self.alive:
            return
        # The stop. gunicorn closes the listener after all requests, so new clients would connect to
        # a server that does not serve them. Here waiting connections are accepted, and the listener
        # is closed at once.
        for listener in self.sockets:
            while self.nr_conns < self.worker_connections and self.accept(listener):
                pass
            listener.close()
        # Connections without any byte are idle like kept ones, which gunicorn limits.
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, time.monotonic() + base_worker.STOP_IDLE_TIMEOUT_S)

    def enqueue_req(self, conn: Any) -> None:
        """Queue a connection for a thread, and record when.

        The deadline of its request counts from then. That of the first request of a connection may
        count too early: a new one is queued before its first bytes have come.
        """
        conn.queued_at = time.monotonic()
        super().enqueue_req(conn)

    def handle(self, conn: Any) -> Any:
        waited_s = time.monotonic() - conn.queued_at
        if not conn.initialized and not self._has_data(conn):
            return gthread._DEFER if self.alive else False
        try:
            conn.sock.setblocking(True)
            conn.init()
        except OSError:  # of TLS
            return False
        if not isinstance(conn.parser.unreader, Unreader):
            conn.parser.unreader = Unreader(conn.sock)
            conn.parser.mesg_class = Request
        answer = functools.partial(self.handle_request, conn=conn)
        return self.serve_request(conn.parser, conn.sock, conn.client, answer, waited_s)

    def _has_data(self, conn: Any) -> bool:
        """Return whether the first bytes of a connection are there; the poller waits for others."""
        # gunicorn waits 5 s here, which would use a thread for each client that sends nothing.
        timeout_s = 0 if self.alive else base_worker.STOP_IDLE_TIMEOUT_S
        try:
            return bool(conn.wait_for_data(timeout_s))
        except OSError:  # no free file descriptor for the selector that it makes
            return False

    def finish_request(self, conn: Any, fs: Any) -> None:
        if not fs.cancelled() and not fs.exception() and fs.result():
            super().finish_request(conn, fs)
            return
        # gunicorn waits up to 2 s for the client to close, here, in the thread that accepts and
        # polls. `serve_request` has waited where it is needed, in the request's own.
        self.nr_conns -= 1
        conn.close()
