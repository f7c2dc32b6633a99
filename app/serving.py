"""gunicorn's gevent and gthread workers, changed only where the contract asks for more.

``worker_class = "app.serving.GeventWorker"`` or ``"app.serving.ThreadWorker"``. What differs:

1. Refusals of gunicorn's own (bad request line, headers, framing) are JSON in OpenAI's shape and
   repeat nothing of the request, for what is malformed may hold a key; nor does the log.
2. A stop loses no request: what has been accepted, or waits to be, is answered; idle connections
   linger for two seconds, for a client may be sending on them already.
3. An answer given before the body was read (401, 413) reaches its client: the rest of the body is
   swallowed, within bounds, for closing on unread bytes makes the kernel reset the connection.
4. A client has to keep a pace, so that one that drips cannot hold a thread for ever.
5. HTTP/1 only: an offer of h2c is ignored. No ``Server: gunicorn``.
6. The head of an answer leaves together with its body. nginx passes a head on as soon as it has
   one, and can repeat a request only until then: an answer in two writes is lost where the worker
   is killed between them (docs/reliability.md has the numbers).

gunicorn imports this in its master, before gevent has patched anything: nothing here may import
requests, nor gevent unless it is the choice.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import http
import io
import json
import math
import socket
import time
from collections.abc import Callable
from typing import Any

from gunicorn import glogging  # type: ignore[import-untyped]
from gunicorn.http import errors, get_parser  # type: ignore[import-untyped]
from gunicorn.http.unreader import SocketUnreader  # type: ignore[import-untyped]
from gunicorn.http.wsgi import Response  # type: ignore[import-untyped]
from gunicorn.workers.base import Worker  # type: ignore[import-untyped]

SERVER = "embeddings-proxy"
STOP_LINGER = 2.0  # seconds that an idle connection outlives the signal to stop
PATIENCE = 30.0  # seconds that a client has for the head, and again for the body, …
PACE = 16 * 2**10  # … plus one for so many bytes of it
SEND_SECONDS = 600.0  # to take an answer: megabytes over a slow line
SMALL_BODY = 64 * 2**10  # bytes left unread that are worth reading to keep a connection
DRAIN_SECONDS = 5.0  # bounds of swallowing what a refused client still sends
DRAIN_BYTES = 64 * 2**20

_GONE = (errno.ENOTCONN, errno.EBADF)


class TooSlow(errors.ParseException):  # type: ignore[misc]
    """The client did not keep the pace."""


class BodyError(OSError):
    """The body broke off, came too slowly or was framed wrongly: a 400, and a retry is safe.

    An OSError because werkzeug turns those into its ClientDisconnected, a 400 too.
    """


_INTERNAL = (500, "internal_error", "Internal error.")

#: What a client is told, by the nearest class of the error: status, code, message.
_REFUSALS: dict[type[BaseException], tuple[int, str, str]] = {
    errors.ParseException: (400, "invalid_http", "The request is not valid HTTP/1.1."),
    errors.InvalidHeader: (400, "invalid_http", "A request header or the framing is not valid."),
    errors.InvalidHeaderName: (400, "invalid_http", "The name of a request header is not valid."),
    errors.LimitRequestLine: (414, "request_line_too_long", "The request line is too long."),
    errors.LimitRequestHeaders: (431, "headers_too_large", "The request headers are too large."),
    errors.ExpectationFailed: (417, "expectation_failed", "Expect can only be 100-continue."),
    errors.UnsupportedTransferCoding: (
        501,
        "unsupported_transfer_coding",
        "Transfer-Encoding can only be chunked.",
    ),
    TooSlow: (408, "request_timeout", "The request did not arrive in time."),
    # Not the client's fault:
    errors.InvalidResponseHeader: _INTERNAL,
    errors.InvalidResponseHeaderName: _INTERNAL,
    errors.ConfigurationProblem: _INTERNAL,
    BaseException: _INTERNAL,
}


class _Unreader(SocketUnreader):  # type: ignore[misc]
    """gunicorn's source of bytes, with a deadline that moves as bytes arrive."""

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self.expect(PATIENCE)

    def expect(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds

    def chunk(self, size_hint: int | None = None) -> bytes:
        # Not 0, which would mean "do not wait": what has arrived may be read, however late.
        self.sock.settimeout(max(self.deadline - time.monotonic(), 0.001))
        try:
            data: bytes = super().chunk(size_hint)
        except TimeoutError:
            raise TooSlow from None
        self.deadline += len(data) / PACE
        return data


class _Body(io.RawIOBase):
    """``wsgi.input``: gunicorn's, but it knows what is unread and never takes half for a whole."""

    def __init__(self, req: Any, unreader: _Unreader, sock: Any) -> None:
        self._body, self._unreader, self._sock = req.body, unreader, sock
        #: Bytes not read yet; infinite as long as the end of a chunked body is not seen.
        self.left: float = getattr(req.body.reader, "length", math.inf)
        self.failed = False  # gunicorn's parser asks for it
        self._started = self.left == 0
        # gunicorn would send "100 Continue" before the app is asked. Sent with the first read
        # instead, it spares a client that is refused (401, 413) the sending.
        self._continue = req._expected_100_continue
        req._expected_100_continue = False

    @property
    def keeps_connection(self) -> bool:
        """Whether the connection can carry another request after this body."""
        return self.left <= SMALL_BODY and not self.failed and not (self.left and self._continue)

    def finish(self) -> bool:
        """Read a small rest; whether the connection can carry another request."""
        if not self.keeps_connection:
            return False
        with contextlib.suppress(BodyError):
            self._start(DRAIN_SECONDS)
            while self.left:
                self.read(8192)
        return not self.failed

    def _start(self, seconds: float) -> None:
        if self._started:
            return
        self._started = True
        self._unreader.expect(seconds)
        if self._continue:
            self._continue = False
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def read(self, size: int | None = -1) -> bytes:
        self._start(PATIENCE)
        try:
            data: bytes = self._body.read(size)
        except (errors.ParseException, OSError):
            self.failed = True
            raise BodyError("the request body could not be read") from None  # it may hold a key
        self.left -= len(data)
        if size is None or size < 0 or len(data) < size:  # that was the end
            if 0 < self.left < math.inf:
                self.failed = True
                raise BodyError("the request body broke off")
            self.left = 0
        return data

    def readinto(self, buffer: Any) -> int:  # readline and its kin, and werkzeug, build on it
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Held:
    """In the place of a socket: keeps what is to be sent."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.sendall = self.pieces.append


class _Answer(Response):  # type: ignore[misc]
    """gunicorn's, but the head goes out in one write with the first piece of the body."""

    sock: Any

    def write(self, piece: bytes) -> None:
        if self.headers_sent:
            super().write(piece)
            return
        sock, self.sock = self.sock, _Held()
        try:
            super().write(piece)
        finally:
            held, self.sock = self.sock, sock
        sock.sendall(b"".join(held.pieces))


class _Contract(Worker):  # type: ignore[misc]
    """What both worker classes do alike."""

    wsgi: Any
    _request_id: Callable[[str | None], str]

    def load_wsgi(self) -> None:
        from app.api.exchange import request_id  # here, in the worker: after gevent's patches

        super().load_wsgi()
        self._request_id, app = request_id, self.wsgi

        def wsgi(environ: dict[str, Any], start_response: Any) -> Any:
            response, body = start_response.__self__, environ["wsgi.input"]
            response.version = SERVER
            response.__class__ = _Answer

            def start(*args: Any) -> Any:
                # Decided as late as can be: a stop may have come while the app was at work.
                if not (self.alive and body.keeps_connection):
                    response.force_close()
                environ["gunicorn.socket"].settimeout(SEND_SECONDS)
                return start_response(*args)

            return app(environ, start)

        self.wsgi = wsgi

    def exchange(self, parser: Any, sock: Any, addr: Any, answer: Callable[[Any], Any]) -> bool:
        """Serve one request; whether the connection can carry another.

        In place of the middle of gunicorn's two `handle`s, which close on unread bytes and log, at
        debug, the bytes of a broken head. ``answer`` is gunicorn's `handle_request`.
        """
        req = body = None
        try:
            parser.unreader.expect(PATIENCE)
            req = next(parser)
            body = req.body = _Body(req, parser.unreader, sock)
            if answer(req) is not False and body.finish():
                return True
        except StopIteration:  # gunicorn's word for "close"
            pass
        except (errors.NoMoreData, ConnectionError, TimeoutError):
            return False
        except OSError as error:
            if error.errno not in _GONE:
                self.log.exception("Socket error")
            return False
        except BaseException as error:  # also gevent's, which are no Exceptions
            self.handle_error(req, sock, addr, error)
            _close_after_answer(sock, DRAIN_SECONDS)
            return False
        if req:
            _close_after_answer(sock, DRAIN_SECONDS if body and body.left else 0)
        return False

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer in JSON instead of HTML, and repeat nothing of the request."""
        nearest = next(kind for kind in type(exc).__mro__ if kind in _REFUSALS)
        status, code, message = _REFUSALS[nearest]
        if status == 500:
            self.log.exception("Error handling request %s", req and f"{req.method} {req.path}")
        else:
            peer = addr[0] if isinstance(addr, tuple) else "a unix socket"
            self.log.warning("Refused a request of %s: %s", peer, type(exc).__name__)
        kind = "server_error" if status == 500 else "invalid_request_error"
        error = {"message": message, "type": kind, "param": None, "code": code}
        body = json.dumps({"error": error}).encode()
        given = (value for name, value in req.headers if name == "X-REQUEST-ID") if req else ()
        request_id = self._request_id(next(iter(given), None))
        head = (
            f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\n"
            f"Server: {SERVER}\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nx-request-id: {request_id}\r\n"
            "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n"
        )
        with contextlib.suppress(OSError):
            client.settimeout(DRAIN_SECONDS)
            client.sendall(head.encode() + (body if not req or req.method != "HEAD" else b""))


class _Threads(_Contract):
    """Over gunicorn's gthread: clients are waited for in the poller, never in a thread."""

    def accept(self, listener: Any) -> bool:
        """Accept a connection; whether there was one."""
        before = self.nr_conns
        try:
            super().accept(listener)
        except OSError as error:
            # Out of file descriptors, say. gunicorn ends the worker, and all its requests.
            self.log.error("Cannot accept a connection: %s", error.strerror)
            time.sleep(0.1)
        return bool(self.nr_conns > before)

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if enabled or self.alive:
            return
        # The stop. gunicorn closes the listener when all requests are done: until then clients
        # connect to a server that will not serve them. Ours takes who waits and closes at once.
        for listener in self.sockets:
            while self.nr_conns < self.worker_connections and self.accept(listener):
                pass
            listener.close()
        # Connections that never sent a byte are as idle as kept ones, which gunicorn limits.
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, time.monotonic() + STOP_LINGER)

    def handle(self, conn: Any) -> Any:
        from gunicorn.workers.gthread import _DEFER  # type: ignore[import-untyped]

        # gunicorn waits 5 s here: a thread for each client that connects and sends nothing.
        if not conn.initialized and not conn.wait_for_data(0 if self.alive else STOP_LINGER):
            return _DEFER if self.alive else False
        try:
            conn.sock.setblocking(True)
            conn.init()
        except OSError:  # of TLS
            return False
        if not isinstance(conn.parser.unreader, _Unreader):
            conn.parser.unreader = _Unreader(conn.sock)
        answer = functools.partial(self.handle_request, conn=conn)
        return self.exchange(conn.parser, conn.sock, conn.client, answer)

    def finish_request(self, conn: Any, fs: Any) -> None:
        if not fs.cancelled() and not fs.exception() and fs.result():
            super().finish_request(conn, fs)
            return
        # gunicorn waits up to 2 s for the client to close, here, in the thread that accepts and
        # polls. `exchange` has waited where it is needed, in the request's own.
        self.nr_conns -= 1
        conn.close()


class _Gevent(_Contract):
    """Over gunicorn's gevent: it knows which connections are idle, as gthread does."""

    _stopping: Any = None

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        if self._stopping:
            self._stopping.set()  # gunicorn looks once a second

    def run(self) -> None:
        from gevent.event import Event
        from gevent.pool import Pool
        from gevent.server import StreamServer
        from gunicorn.sock import ssl_context  # type: ignore[import-untyped]

        self._stopping, self._idle = Event(), set[Any]()
        connections = Pool(self.worker_connections)
        options = {"ssl_context": ssl_context(self.cfg)} if self.cfg.is_ssl else {}
        servers = []
        for sock in self.sockets:
            # By name: the listener is closed before the last that it accepted are served.
            handle = functools.partial(self.handle, sock.getsockname())
            servers.append(StreamServer(sock, handle, spawn=connections, **options))
            servers[-1].max_accept = 1 if self.cfg.workers > 1 else 100  # leave some to the others
            servers[-1].start()
        while self.alive:
            self.notify()
            self._stopping.wait(1.0)

        for server in servers:
            server.stop_accepting()
            with contextlib.suppress(OSError):
                while not connections.full() and (accepted := server.do_read()):
                    server.do_handle(*accepted)
            server.close()
        linger = time.monotonic() + STOP_LINGER
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while not connections.join(0.25) and time.monotonic() < deadline:
            self.notify()
            if time.monotonic() >= linger:
                self._close_idle()
        if len(connections):
            self.log.warning("Stopping with %d connections still at work", len(connections))

    def _close_idle(self) -> None:
        for sock in list(self._idle):
            # Not a close, nor the greenlet's end: a request that has just arrived is still read.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RD)

    def handle(self, listener_name: Any, client: Any, addr: Any) -> None:
        import gevent

        parser = get_parser(self.cfg, client, addr)
        parser.unreader = unreader = _Unreader(client)
        alive = True
        while alive:
            if not unreader.buf.getvalue():  # else the next request is here already
                self._idle.add(client)
                try:
                    client.settimeout(
                        (self.cfg.keepalive or PATIENCE) if self.alive else STOP_LINGER
                    )
                    data = client.recv(unreader.mxchunk)
                except OSError:
                    data = b""
                finally:
                    self._idle.discard(client)
                if not data:
                    break
                unreader.unread(data)
            answer = functools.partial(self._answer, listener_name, client, addr)
            alive = self.exchange(parser, client, addr, answer)
            # Others first: where the next request is here already, gevent's recv does not switch,
            # and one busy client starves the rest (32 clients: p50 0.2 ms, p99 150 ms).
            gevent.sleep(0)

    def _answer(self, listener_name: Any, client: Any, addr: Any, req: Any) -> Any:
        return self.handle_request(listener_name, req, client, addr)


def __getattr__(name: str) -> Any:
    """The worker classes, each with its half of gunicorn imported when it is asked for."""
    if name == "GeventWorker":
        from gunicorn.workers.ggevent import GeventWorker  # type: ignore[import-untyped]

        made = type(name, (_Gevent, GeventWorker), {})
    elif name == "ThreadWorker":
        from gunicorn.workers.gthread import ThreadWorker

        made = type(name, (_Threads, ThreadWorker), {})
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = made
    return made


def _close_after_answer(sock: Any, patience: float) -> None:
    """Send FIN, then swallow what still comes, lest a reset overtakes the answer (RFC 9112, 9.6).

    With no patience, only what is here already.
    """
    deadline, limit = time.monotonic() + patience, DRAIN_BYTES
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        while limit > 0:
            sock.settimeout(max(deadline - time.monotonic(), 0))
            received = len(sock.recv(2**16))
            if not received:
                break
            limit -= received


class JsonLogger(glogging.Logger):  # type: ignore[misc]
    """gunicorn's own log as JSON lines, like the app's.

    Not by gunicorn's ``logconfig_dict``: that turns the access log on, whatever ``accesslog`` says.
    """

    def setup(self, cfg: Any) -> None:
        from app.logs import JsonFormatter

        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(JsonFormatter())
