"""One structured line a request, and how it is written. No inputs, no secrets.

A line is at most `MAX_LINE_BYTES`, its line feed included, and leaves in one write: more than
PIPE_BUF bytes of one process may be torn by another's, where several share a pipe (pipe(7)).
"""

from __future__ import annotations

import functools
import logging
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

from app.config import LogSettings

MAX_LINE_BYTES = 4096  # PIPE_BUF of Linux
USUAL_LINE_BYTES = 1024  # a line up to this length is written as it is
#: Characters of a value: the first of these with which the line fits.
MAX_VALUE_LENGTHS = (300, 64, 16)
MAX_MESSAGE_LENGTHS = (1500, 500, 64)  # likewise, of what is no request's: several wrong settings
_ELLIPSIS = "…"
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
    """Writes a line in one call of the system, which needs no lock to stay whole."""

    def emit(self, record: logging.LogRecord) -> None:
        # A text stream gathers what two threads write at once, and writes it together.
        raw = getattr(getattr(self.stream, "buffer", None), "raw", None)
        if raw is None:  # not a file: a stream of a test's
            super().emit(record)
            return
        try:
            raw.write(f"{self.format(record)}{self.terminator}".encode(errors="replace"))
        except Exception:
            self.handleError(record)

    def createLock(self) -> None:  # noqa: N802 - logging's name
        self.lock = None


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: ``time`` (UTC, RFC 3339), ``level``, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {"time": _utc(record.created), "level": record.levelname.lower()}
        fields = getattr(record, "fields", None)
        lengths = MAX_VALUE_LENGTHS
        if fields is None:
            line |= {"logger": record.name, "message": record.getMessage()}
            lengths = MAX_MESSAGE_LENGTHS
        else:
            line.update(fields)
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        return _fitting(line, lengths, trace).decode("utf-8", "replace")


def _fitting(line: dict[str, Any], lengths: Sequence[int], trace: str) -> bytes:
    """Write a line within its bounds: values are cut, and of a traceback the end is kept."""
    try:
        encoded = orjson.dumps(line)
        if len(encoded) <= USUAL_LINE_BYTES and not trace:
            return encoded
    except orjson.JSONEncodeError:  # a lone surrogate, or a number that JSON cannot hold
        encoded = b"{}"
    room = MAX_LINE_BYTES - 1  # the line feed
    for length in lengths:
        encoded = orjson.dumps({name: _cut(value, length) for name, value in line.items()})
        if len(encoded) <= room:
            break
    else:  # many fields, or characters that JSON escapes
        kept = {name: line[name] for name in ("time", "level") if name in line}
        encoded = orjson.dumps({**kept, "message": "a log line was too long"})
    while trace:
        more = orjson.dumps({"exception": trace})[1:]
        if len(encoded) + len(more) <= room:
            return encoded[:-1] + b"," + more
        trace = trace[-(len(trace) * 3 // 4) :] if len(trace) > 1 else ""
    return encoded


def _cut(value: Any, length: int) -> Any:
    """A value as JSON can hold it, a text not longer than this."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    text = value if isinstance(value, str) else str(value)
    if len(text) > length:
        text = text[: length - 1] + _ELLIPSIS
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


class HumanFormatter(logging.Formatter):
    """A record as a line to read: ``12:03:44 POST /v1/embeddings 200 12.3 ms model=…``.

    A traceback follows in lines of its own.
    """

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = getattr(record, "fields", None)
        if fields is None:
            message = _cut(record.getMessage(), MAX_MESSAGE_LENGTHS[1])
            text = f"{clock} {record.levelname.lower()} {message}"
        else:
            rest = {name: _cut(value, MAX_VALUE_LENGTHS[1]) for name, value in fields.items()}
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
