"""One structured line a request, and how it is written. No inputs, no secrets."""

from __future__ import annotations

import functools
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

from app.config import LogSettings

#: The logger whose level decides about request lines.
_requests = logging.getLogger("app.requests")


def configure(settings: LogSettings) -> None:
    """Send everything below the logger ``app`` to standard output in the format of the settings."""
    # What a record would look up for a formatter that nobody uses here.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = _LineHandler(sys.stdout)
    handler.setFormatter(HumanFormatter() if settings.format == "human" else JsonFormatter())
    logger = logging.getLogger("app")
    logger.handlers = [handler]
    logger.setLevel(settings.level)
    logger.propagate = False
    _requests.handlers = [handler]


def log_request(fields: dict[str, Any]) -> None:
    """Write the line of one request; above 499 as an error, of a probe that is well as debug."""
    level = logging.ERROR if fields["status"] >= 500 else logging.INFO
    if fields["path"].startswith("/health/") and level == logging.INFO:
        level = logging.DEBUG
    if _requests.isEnabledFor(level):
        record = _RequestRecord(level, fields)
        for handler in _requests.handlers:  # not `handle`, which asks filters that nobody has set
            handler.emit(record)


class _RequestRecord(logging.LogRecord):
    """A record with what formatters here look at, and nothing that is costly to find out.

    ``fields`` are the line's names and values.
    """

    def __init__(self, level: int, fields: dict[str, Any]) -> None:
        self.name, self.msg, self.args = _requests.name, "request", None
        self.levelno, self.levelname = level, logging.getLevelName(level)
        self.created = time.time()
        self.exc_info = None
        self.fields = fields


class _LineHandler(logging.StreamHandler[TextIO]):
    """Writes a line in one call, which needs no lock to stay whole."""

    def createLock(self) -> None:  # noqa: N802 - logging's name
        self.lock = None


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: ``time`` (UTC, RFC 3339), ``level``, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {"time": _utc(record.created), "level": record.levelname.lower()}
        fields = getattr(record, "fields", None)
        if fields is None:
            line |= {"logger": record.name, "message": record.getMessage()}
        else:
            line.update(fields)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode("utf-8", "replace")


class HumanFormatter(logging.Formatter):
    """A record as a line to read: ``12:03:44 POST /v1/embeddings 200 12.3 ms model=…``."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = getattr(record, "fields", None)
        if fields is None:
            text = f"{clock} {record.levelname.lower()} {record.getMessage()}"
        else:
            rest = dict(fields)
            head = " ".join(str(rest.pop(name, "")) for name in ("method", "path", "status"))
            text = f"{clock} {head} {rest.pop('total_ms', 0)} ms " + " ".join(
                f"{name}={value}" for name, value in rest.items() if value not in (None, "")
            )
        # A line break in what a caller sent must not begin a line of its own.
        text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
        return text + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


def _utc(created: float) -> str:
    second, rest = divmod(created, 1)
    return f"{_second(second)}.{int(rest * 1000):03d}Z"


@functools.lru_cache(maxsize=1)
def _second(second: float) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat(timespec="seconds")[:-6]
