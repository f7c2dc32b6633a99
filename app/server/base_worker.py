"""The base class of both workers: serves a request, answers errors as JSON, closes connections."""

from __future__ import annotations

import contextlib
import errno
import gc
import http
import json
import time
from collections.abc import Callable
from typing import Any

from gunicorn.http import errors  # type: ignore[import-untyped]
from gunicorn.workers.base import Worker  # type: ignore[import-untyped]

from app.errors import (
    ClientError,
    ExpectationFailed,
    HeadersTooLarge,
    InternalError,
    InvalidHttp,
    RequestLineTooLong,
    RequestTimeout,
    UnsupportedTransferCoding,
    shown,
)
from app.server.body import DRAIN_TIMEOUT_S, Body, TooSlow, close_after_answer
from app.server.heap import keep_freed
from app.server.log import Errors
from app.server.response_writer import SERVER, BufferedHeadResponse

STOP_IDLE_TIMEOUT_S = 2.0  # seconds that an idle connection stays open after the signal to stop
ACCEPT_RETRY_S = 0.1  # seconds after a failed accept
_GC_THRESHOLD = 10_000  # allocations before a collection of the youngest generation
SEND_TIMEOUT_S = 600.0  # a client must read a whole answer: megabytes over a slow connection

_DISCONNECTED_ERRNOS = (errno.ENOTCONN, errno.EBADF)
_INTERNAL = (InternalError, "Internal error.")

#: The answer to a client, by the class of gunicorn's error or its nearest base class.
_REFUSALS: dict[type[BaseException], tuple[type[ClientError], str]] = {
    errors.ParseException: (InvalidHttp, "The request is not valid HTTP/1.1."),
    errors.InvalidHeader: (InvalidHttp, "A request header or the framing is not valid."),
    errors.InvalidHeaderName: (InvalidHttp, "The name of a request header is not valid."),
    errors.LimitRequestLine: (RequestLineTooLong, "The request line is too long."),
    errors.LimitRequestHeaders: (HeadersTooLarge, "The request headers are too large."),
    errors.ExpectationFailed: (ExpectationFailed, "Expect can only be 100-continue."),
    errors.UnsupportedTransferCoding: (
        UnsupportedTransferCoding,
        "Transfer-Encoding can only be chunked.",
    ),
    TooSlow: (RequestTimeout, "The request did not arrive in time."),
    # Errors of the server:
    errors.InvalidResponseHeader: _INTERNAL,
    errors.InvalidResponseHeaderName: _INTERNAL,
    errors.ConfigurationProblem: _INTERNAL,
    BaseException: _INTERNAL,
}


class BaseWorker(Worker):  # type: ignore[misc]
    """Serves requests for both worker classes, and answers gunicorn's own errors as JSON."""

    wsgi: Any
    close_after_answer = staticmethod(close_after_answer)
    _request_id: Callable[[str | None], str]

    def load_wsgi(self) -> None:
        from app.exchange import WAITED_S, request_id

        super().load_wsgi()
        keep_freed()
        Errors.install(self.cfg)
        # `Request` extends gunicorn's own parser, which gunicorn_h1c would replace.
        self.cfg.set("http_parser", "python")
        # A setting is looked up by `Config.__getattr__` each time, 27 times a request.
        self.cfg.__dict__.update({name: known.get() for name, known in self.cfg.settings.items()})
        # Existing objects stay; a collection of them would cost 5 % of a request.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD, 20, 20)
        self._request_id, app = request_id, self.wsgi

        def wsgi(environ: dict[str, Any], start_response: Any) -> Any:
            response, body = start_response.__self__, environ["wsgi.input"]
            response.version = SERVER
            response.__class__ = BufferedHeadResponse
            environ[WAITED_S] = body.waited_s

            def start(*args: Any) -> Any:
                # Decided as late as possible: a stop may have been requested while the app ran.
                if not (self.alive and body.keeps_connection):
                    response.force_close()
                response.deadline = time.monotonic() + SEND_TIMEOUT_S
                return start_response(*args)

            return app(environ, start)

        self.wsgi = wsgi

    def serve_request(
        self,
        parser: Any,
        sock: Any,
        addr: Any,
        answer: Callable[[Any], Any],
        waited_s: float = 0.0,
    ) -> bool:
        """Serve one request; return whether the connection can be used for another.

        Replaces a part of gunicorn's `handle` in both workers, which closes the connection where
        bytes of the body are unread, and logs the bytes of a head that it cannot parse. ``answer``
        is gunicorn's `handle_request`; ``waited_s`` are the seconds that the request has waited for
        a thread.
        """
        req = body = None
        try:
            parser.unreader.expect()
            req = next(parser)
            body = req.body = Body(req, parser.unreader, sock)
            body.waited_s = waited_s
            if answer(req) is not False and body.finish():
                parser.mesg = None  # no part of it must be read before the next
                return True
        except StopIteration:  # gunicorn's signal for "close"
            pass
        except (errors.NoMoreData, ConnectionError, TimeoutError):
            return False
        except OSError as error:
            if error.errno not in _DISCONNECTED_ERRNOS:
                self.log.exception("Socket error")
            return False
        except BaseException as error:  # also gevent's, which are not Exceptions
            self.handle_error(req, sock, addr, error)
            self.close_after_answer(sock, DRAIN_TIMEOUT_S)
            return False
        if req:
            self.close_after_answer(sock, DRAIN_TIMEOUT_S if body and body.unread_bytes else 0)
        return False

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer in JSON instead of HTML, without text of the request."""
        nearest = next(kind for kind in type(exc).__mro__ if kind in _REFUSALS)
        kind, message = _REFUSALS[nearest]
        error = kind(message)
        status = error.status
        if status == 500:
            self.log.exception(
                "Error handling request %s", req and f"{shown(req.method)} {shown(req.path)}"
            )
        else:
            peer = addr[0] if isinstance(addr, tuple) else "a unix socket"
            self.log.warning("Refused a request of %s: %s", peer, type(exc).__name__)
        body = json.dumps(error.payload).encode()
        given = (value for name, value in req.headers if name == "X-REQUEST-ID") if req else ()
        request_id = self._request_id(next(iter(given), None))
        head = (
            f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\n"
            f"Server: {SERVER}\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nx-request-id: {request_id}\r\n"
            "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n"
        )
        with contextlib.suppress(OSError):
            client.settimeout(DRAIN_TIMEOUT_S)
            client.sendall(head.encode() + (body if not req or req.method != "HEAD" else b""))
