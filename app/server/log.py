"""gunicorn's own log, and what WSGI calls ``wsgi.errors``."""

from __future__ import annotations

import io
from typing import Any

from gunicorn import glogging  # type: ignore[import-untyped]
from gunicorn.http import wsgi  # type: ignore[import-untyped]

_Wrapper = wsgi.WSGIErrorsWrapper


class JsonLogger(glogging.Logger):  # type: ignore[misc]
    """gunicorn's own log as JSON lines, like the app's.

    Not by gunicorn's ``logconfig_dict``: that turns the access log on, whatever ``accesslog`` says.
    """

    def setup(self, cfg: Any) -> None:
        from app.observability.logs import JsonFormatter

        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(JsonFormatter())


class Errors(io.RawIOBase):
    """``wsgi.errors``, one object for all requests, that opens gunicorn's log at a write.

    gunicorn creates one for each request and opens the log at once, under the lock of logging: 4 %
    of a short request, although it is rarely used.
    """

    def __init__(self, cfg: Any) -> None:
        self._cfg = cfg

    @classmethod
    def install(cls, cfg: Any) -> None:
        """Let gunicorn use this object."""
        errors = cls(cfg)
        wsgi.WSGIErrorsWrapper = lambda _: errors

    def write(self, data: Any) -> None:
        _Wrapper(self._cfg).write(data)
