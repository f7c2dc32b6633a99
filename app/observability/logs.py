"""Writes log lines, among them one for each request, without inputs and secrets.

A line has at most `MAX_LINE_BYTES`, with its line feed, and is written by one system call. The
kernel may interleave longer writes of processes that share a pipe: see PIPE_BUF in pipe(7).
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
#: A line up to this length is written without cutting values.
MAX_UNCUT_LINE_BYTES = 1024
#: Characters of one value; the first of these lengths with which the line fits is used.
MAX_VALUE_LENGTHS = (300, 64, 16)
#: The same for lines that are not of a request, such as a list of wrong settings.
MAX_MESSAGE_LENGTHS = (1500, 500, 64)
#: Bytes that the other values leave for the end of a traceback.
MIN_TRACE_BYTES = 1024
_ELLIPSIS = "…"
#: The logger of request lines.
_requests = logging.getLogger("app.requests")


def configure(settings: LogSettings) -> None:
    """Send everything below the logger ``app`` to standard output in the format of the settings."""
    handler = _LineHandler(sys.stdout)
    handler.setFormatter(HumanFormatter() if settings.format == "human" else JsonFormatter())
    logger = logging.getLogger("app")
    logger.handlers = [handler]
    logger.setLevel(settings.level)
    logger.propagate = False
    _requests.handlers = [handler]


def log_request(fields: dict[str, Any]) -> None:
    """Write the line of a request: 5xx as error, a successful health probe as debug."""
    level = logging.ERROR if fields["status"] >= 500 else logging.INFO
    if fields["path"].startswith("/health/") and level == logging.INFO:
        level = logging.DEBUG
    if _requests.isEnabledFor(level):
        record = _RequestRecord(level, fields)
        for handler in _requests.handlers:  # not `handle`: it also runs filters, and there are none
            handler.emit(record)


class _RequestRecord(logging.LogRecord):
    """A log record with only the attributes that the formatters here use.

    ``fields`` are the line's names and values.
    """

    def __init__(self, level: int, fields: dict[str, Any]) -> None:
        self.name, self.msg, self.args = _requests.name, "request", None
        self.levelno, self.levelname = level, logging.getLevelName(level)
        self.created = time.time()
        self.exc_info = None
        self.fields = fields


class _NoLock:
    """Locks nothing. logging takes a handler's lock by ``with``, from Python 3.13 on."""

    def acquire(self) -> None: ...

    def release(self) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


class _LineHandler(logging.StreamHandler[TextIO]):
    """Writes each line by one system call, which needs no lock to be atomic."""

    def emit(self, record: logging.LogRecord) -> None:
        # A text stream would join the lines of two threads into one longer write.
        raw = getattr(getattr(self.stream, "buffer", None), "raw", None)
        if raw is None:  # not a file, in tests
            super().emit(record)
            return
        try:
            raw.write(f"{self.format(record)}{self.terminator}".encode(errors="replace"))
        except Exception:
            self.handleError(record)

    def createLock(self) -> None:  # noqa: N802 - logging's name
        self.lock = _NoLock()  # type: ignore[assignment]  # has what logging uses of a lock


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
        trace = trace.encode("utf-8", "replace").decode()  # its message may hold a lone surrogate
        return _encode_within_limit(line, lengths, trace).decode("utf-8", "replace")


def _encode_within_limit(line: dict[str, Any], lengths: Sequence[int], trace: str) -> bytes:
    """Encode a line within `MAX_LINE_BYTES`: cut values, and keep the end of a traceback."""
    try:
        encoded = orjson.dumps(line)
        if len(encoded) <= MAX_UNCUT_LINE_BYTES and not trace:
            return encoded
    except orjson.JSONEncodeError:  # a lone surrogate, or a number that JSON cannot hold
        encoded = b"{}"
    max_bytes = MAX_LINE_BYTES - 1  # the line feed
    max_values_bytes = max_bytes - MIN_TRACE_BYTES if trace else max_bytes
    for length in lengths:
        encoded = orjson.dumps({name: _cut(value, length) for name, value in line.items()})
        if len(encoded) <= max_values_bytes:
            break
    else:  # many fields, or characters that JSON escapes
        kept = {name: line[name] for name in ("time", "level") if name in line}
        encoded = orjson.dumps({**kept, "message": "a log line was too long"})
    while trace:
        more = orjson.dumps({"exception": trace})[1:]
        if len(encoded) + len(more) <= max_bytes:
            return encoded[:-1] + b"," + more
        trace = trace[-(len(trace) * 3 // 4) :] if len(trace) > 1 else ""
    return encoded


def _cut(value: Any, length: int) -> Any:
    """Return a value as JSON can hold it, a text cut to ``length`` characters."""
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
        # A line break in a client's text must not begin another log line.
        text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
        return text + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


def _utc(created: float) -> str:
    second, rest = divmod(created, 1)
    return f"{_second(second)}.{int(rest * 1000):03d}Z"


@functools.lru_cache(maxsize=1)
def _second(second: float) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat(timespec="seconds")[:-6]
