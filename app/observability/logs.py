"""Writes log lines, among them one for each request, without inputs and secrets.

A line has at most `MAX_LINE_BYTES`, with its line feed, and is written by one system call. The
kernel may interleave longer writes of processes that share a pipe: see PIPE_BUF in pipe(7).
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

import orjson
from msgspec import UNSET
from msgspec.json import Encoder
from msgspec.structs import asdict

from app.config import LogSettings
from app.exchange import Exchange
from app.observability.request_record import RequestRecord, utc

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
_encode = Encoder().encode
#: The logger of request lines, and their levels.
_requests = logging.getLogger("app.requests")
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "error": logging.ERROR}


def configure(settings: LogSettings) -> None:
    """Send everything below the logger ``app`` to standard output in the format of the settings."""
    formatter = HumanFormatter() if settings.format == "human" else JsonFormatter()
    handler = _LineHandler(sys.stdout, formatter)
    logger = logging.getLogger("app")
    logger.handlers = [handler]
    logger.setLevel(settings.level)
    logger.propagate = False
    _requests.handlers = [handler]


def log_request(_: Exchange, record: RequestRecord) -> None:
    """Write the line of a request, if its level is to be logged."""
    # The formatters take a record as it is: to make a `logging.LogRecord` of it takes 5 µs.
    if _requests.isEnabledFor(_LEVELS[record.level]):
        for handler in _requests.handlers:
            if isinstance(handler, _LineHandler):
                handler.write_request(record)


class _NoLock:
    """Locks nothing. logging takes a handler's lock by ``with``, from Python 3.13 on."""

    def acquire(self) -> None: ...

    def release(self) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


class _LineHandler(logging.StreamHandler[TextIO]):
    """Writes each line by one system call, which needs no lock to be atomic."""

    def __init__(self, stream: TextIO, formatter: JsonFormatter | HumanFormatter) -> None:
        super().__init__(stream)
        self.formatter: JsonFormatter | HumanFormatter = formatter

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._write(self.format(record).encode(errors="replace"))
        except Exception:
            self.handleError(record)

    def write_request(self, record: RequestRecord) -> None:
        """Write the line of a request."""
        try:
            self._write(self.formatter.request_line(record))
        except Exception:
            self.handleError(logging.makeLogRecord({"msg": "the line of a request"}))

    def _write(self, line: bytes) -> None:
        # Not the text stream: that would join the lines of two threads into one longer write, and
        # fail for characters that the locale's encoding lacks. With PYTHONUNBUFFERED its buffer is
        # the file itself.
        buffer = getattr(self.stream, "buffer", None)
        if buffer is not None:
            getattr(buffer, "raw", buffer).write(line + b"\n")
        else:  # only text, in tests
            self.stream.write(line.decode() + "\n")

    def createLock(self) -> None:  # noqa: N802 - logging's name
        self.lock = _NoLock()  # type: ignore[assignment]  # has what logging uses of a lock


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: ``time`` (UTC, RFC 3339), ``level``, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": utc(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        trace = trace.encode("utf-8", "replace").decode()  # its message may hold a lone surrogate
        return _encode_within_limit(line, MAX_MESSAGE_LENGTHS, trace).decode("utf-8", "replace")

    def request_line(self, record: RequestRecord) -> bytes:
        """Return the line of a request, within `MAX_LINE_BYTES`."""
        try:
            encoded = _encode(record)
            if len(encoded) <= MAX_UNCUT_LINE_BYTES:
                return encoded
        except (TypeError, ValueError):  # a lone surrogate, or a value without JSON form
            pass
        return _encode_within_limit(_fields_of(record), MAX_VALUE_LENGTHS, "")


def _fields_of(record: RequestRecord) -> dict[str, Any]:
    return {name: value for name, value in asdict(record).items() if value is not UNSET}


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
        message = _cut(record.getMessage(), MAX_MESSAGE_LENGTHS[1])
        text = _printable(f"{_clock(record.created)} {record.levelname.lower()} {message}")
        return text + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")

    def request_line(self, record: RequestRecord) -> bytes:
        """Return the line of a request."""
        fields = _fields_of(record)
        rest = {name: _cut(value, MAX_VALUE_LENGTHS[1]) for name, value in fields.items()}
        del rest["time"], rest["level"]
        head = " ".join(str(rest.pop(name)) for name in ("method", "path", "status"))
        text = f"{_clock(time.time())} {head} {rest.pop('total_ms')} ms " + " ".join(
            f"{name}={value}" for name, value in rest.items() if value not in (None, "")
        )
        return _printable(text).encode(errors="replace")


def _clock(now: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(now))


def _printable(text: str) -> str:
    """Replace line breaks and the like: in a client's text they must not begin another line."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
