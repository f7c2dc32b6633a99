"""Fetch a document over HTTP, with a bound on its size and on the whole time.

urllib's timeout bounds one read only, so a response that sends one byte a second would never reach
it. A timer therefore shuts the sockets of a fetch down at its deadline.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import urllib.request
from typing import Any

READ_TIMEOUT_S = 5.0  # of a connect, and of one read
FETCH_LIMIT_S = 10.0  # of a whole fetch
MAX_BYTES = 2**20  # of a document


def fetch(url: str, limit_s: float = FETCH_LIMIT_S) -> bytes:
    """Return the document at this URL. Raises OSError, ValueError or HTTPException."""
    connections = _Connections()
    opener = urllib.request.build_opener(_NoRedirects, _Http(connections), _Https(connections))
    timer = threading.Timer(limit_s, connections.shut_down)
    timer.daemon = True
    timer.start()
    try:
        with opener.open(url, timeout=READ_TIMEOUT_S) as response:
            data: bytes = response.read(MAX_BYTES + 1)
            missing = response.length  # bytes of Content-Length that have not arrived
    except Exception as error:
        if connections.is_shut_down:
            raise TimeoutError(f"no whole answer within {limit_s:g} s") from error
        raise
    finally:
        timer.cancel()
        connections.close()
    if connections.is_shut_down:
        raise TimeoutError(f"no whole answer within {limit_s:g} s")
    if len(data) > MAX_BYTES:
        raise ValueError("the document is too large")
    if missing:
        raise http.client.IncompleteRead(data, missing)
    return data


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None  # a redirect could name a host that the settings do not


class _Connections:
    """The sockets of one fetch, to be shut down at its deadline.

    They are duplicates, as TLS and urllib each detach the socket from its connection.
    """

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self.is_shut_down = False

    def make(self, http_class: Any, *args: Any, **kwargs: Any) -> http.client.HTTPConnection:
        def connect(*where: Any) -> socket.socket:
            sock = socket.create_connection(*where)
            self._sockets.append(sock.dup())
            return sock

        connection: http.client.HTTPConnection = http_class(*args, **kwargs)
        connection._create_connection = connect  # type: ignore[attr-defined]  # of http.client, private
        return connection

    def shut_down(self) -> None:
        self.is_shut_down = True
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()


class _Http(urllib.request.HTTPHandler):
    def __init__(self, connections: _Connections) -> None:
        super().__init__()
        self._connections = connections

    def do_open(self, http_class: Any, req: Any, **kwargs: Any) -> Any:
        def make(*args: Any, **options: Any) -> http.client.HTTPConnection:
            return self._connections.make(http_class, *args, **options)

        do_open = urllib.request.AbstractHTTPHandler.do_open
        return do_open(self, make, req, **kwargs)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, connections: _Connections) -> None:
        super().__init__()
        self._connections = connections

    do_open = _Http.do_open
