"""Fetch a document over HTTP within bounds: of its size, and of the time that it takes.

urllib's timeout is for one read: an answer that drips is within it for ever. So the sockets of a
fetch are remembered, and shut down when its time is over.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import urllib.request
from typing import Any

#: Seconds for a connect or one read, and for a whole fetch.
READ_TIMEOUT_S = 5.0
FETCH_LIMIT_S = 10.0
MAX_BYTES = 2**20  # of a document


def fetch(url: str, limit_s: float = FETCH_LIMIT_S) -> bytes:
    """The document at this address. Raises OSError, ValueError or HTTPException."""
    connections = _Connections()
    opener = urllib.request.build_opener(_NoRedirects, _Http(connections), _Https(connections))
    timer = threading.Timer(limit_s, connections.cut)
    timer.daemon = True
    timer.start()
    try:
        with opener.open(url, timeout=READ_TIMEOUT_S) as answer:
            data: bytes = answer.read(MAX_BYTES + 1)
            declared = answer.length  # what is missing of a body whose length was told
    except Exception as error:
        if connections.cut_off:
            raise TimeoutError(f"no whole answer within {limit_s:g} s") from error
        raise
    finally:
        timer.cancel()
        connections.close()
    if connections.cut_off:
        raise TimeoutError(f"no whole answer within {limit_s:g} s")
    if len(data) > MAX_BYTES:
        raise ValueError("the document is too large")
    if declared:
        raise http.client.IncompleteRead(data, declared)
    return data


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None  # the settings say where the keys are, and no other


class _Connections:
    """The sockets of one fetch, to be shut down when its time is over.

    They are duplicates: TLS and urllib each take the socket out of the connection's hands.
    """

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self.cut_off = False

    def make(self, http_class: Any, *args: Any, **kwargs: Any) -> http.client.HTTPConnection:
        def connect(*where: Any) -> socket.socket:
            sock = socket.create_connection(*where)
            self._sockets.append(sock.dup())
            return sock

        connection: http.client.HTTPConnection = http_class(*args, **kwargs)
        connection._create_connection = connect  # type: ignore[attr-defined]
        return connection

    def cut(self) -> None:
        self.cut_off = True
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
