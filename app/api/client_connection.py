"""Whether the client of a request still waits for its answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.concurrency.peer import has_closed


def has_left(environ: Mapping[str, Any]) -> bool:
    """Return whether the client has closed its connection, also where only its sending side.

    nginx and Go's net/http take both for the same, too: the end of what a client sends does not say
    whether it still reads. False where the server does not give its socket, as in a test client.
    """
    sock = environ.get("gunicorn.socket")
    return sock is not None and has_closed(sock)
