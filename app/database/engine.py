"""Runs functions in database transactions, without blocking other greenlets under gevent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection

from app.concurrency.threads import NativeThreads, NoThread, threads_are_greenlets

T = TypeVar("T")

#: Seconds after which a PostgreSQL server that does not answer counts as unreachable.
SERVER_TIMEOUT_S = 10
#: Threads of one SQLite database under gevent.
MAX_SQLITE_THREADS = 4
#: Seconds that a thread may take beyond the time limit of its transaction, before it is left.
_GRACE_S = 1.0
#: Steps of SQLite's virtual machine between two checks of the time limit, below a millisecond.
STEPS_PER_TIME_CHECK = 10_000
#: Milliseconds that SQLite waits for the lock of another process that writes.
_BUSY_MS = 10_000

#: Drivers raise the last two before they send anything: an integer over 64 bits (SQLite), or a text
#: that is not UTF-8 (both).
_REFUSALS = (exc.DataError, exc.IntegrityError, OverflowError, UnicodeError)


class Unavailable(Exception):
    """The database does not answer, or its tables are missing. A retry may succeed."""


class Refused(Exception):
    """The database does not accept these values. A retry fails again."""


def is_missing_file(url: str) -> bool:
    """Return whether this is SQLite's address of a file that does not exist.

    A connection would create the file, without tables.
    """
    parsed = sa.engine.make_url(url)
    return parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file()


class Database:
    """Runs each function in a transaction of its own. Connects at the first one."""

    def __init__(self, url: str, time_limit_s: float | None = None) -> None:
        """Prepare the engine.

        ``time_limit_s`` is for one transaction. None means no limit in SQLite, and
        `SERVER_TIMEOUT_S` for each statement in PostgreSQL.
        """
        self.is_sqlite = url.startswith("sqlite")
        self._time_limit_s = time_limit_s
        # A pooled connection is checked before use: each would fail once after a restart of the
        # server. SQLite needs no pool: its connections are cheap, and threads may not share one.
        options: dict[str, Any] = (
            {"poolclass": sa.NullPool} if self.is_sqlite else {"pool_pre_ping": True}
        )
        arguments = {"timeout": _BUSY_MS / 1000} if self.is_sqlite else _postgresql(time_limit_s)
        self.engine = sa.create_engine(url, connect_args=arguments, **options)
        self._call: Callable[[Callable[[], Any]], Any] = _call_directly
        if self.is_sqlite:
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            if threads_are_greenlets():
                self._call = _ThreadCaller(time_limit_s)

    def run(self, function: Callable[[Connection], T]) -> T:
        """Run ``function`` in a transaction, commit, and return its result.

        Raises `Unavailable` or `Refused`.
        """
        result: T = self._call(lambda: self._run(function))
        return result

    def _run(self, function: Callable[[Connection], T]) -> T:
        try:
            with self.engine.begin() as connection:
                if self.is_sqlite and self._time_limit_s is not None:
                    _interrupt_after(connection, self._time_limit_s)
                return function(connection)
        except _REFUSALS as error:
            raise Refused(_first_line(error)) from error
        except exc.SQLAlchemyError as error:
            raise Unavailable(_first_line(error)) from error

    def close(self) -> None:
        self.engine.dispose()


def _prepare_sqlite(connection: Any, _: Any) -> None:
    # WAL: readers and the writer do not wait for each other. NORMAL: a commit does not wait for
    # the disk. A power cut may lose the last commits, but does not damage the file.
    for pragma in (f"busy_timeout={_BUSY_MS}", "journal_mode=WAL", "synchronous=NORMAL"):
        connection.execute(f"PRAGMA {pragma}").close()


def _postgresql(time_limit_s: float | None) -> dict[str, Any]:
    limit_ms = round((time_limit_s or SERVER_TIMEOUT_S) * 1000)
    return {
        "connect_timeout": 5,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": SERVER_TIMEOUT_S * 1000,
        "options": f"-c statement_timeout={limit_ms} -c timezone=UTC",
        "application_name": "embeddings-proxy",
    }


def _interrupt_after(connection: Connection, seconds: float) -> None:
    """Let statements of SQLite on this connection fail after so many seconds."""
    end = time.monotonic() + seconds
    driver: Any = connection.connection.dbapi_connection
    driver.set_progress_handler(lambda: time.monotonic() > end, STEPS_PER_TIME_CHECK)


def _call_directly(function: Callable[[], T]) -> T:
    return function()


class _ThreadCaller:
    """Calls functions in native threads: SQLite waits in C, where gevent cannot switch.

    The first calls go one by one, until one has ended: SQLAlchemy prepares an engine under a lock,
    and native threads cannot wait for one that gevent has replaced.
    """

    def __init__(self, time_limit_s: float | None) -> None:
        self._timeout_s = None if time_limit_s is None else time_limit_s + _GRACE_S
        self._threads = NativeThreads(MAX_SQLITE_THREADS)
        self._first_call = threading.Lock()  # waits for greenlets
        self._is_prepared = False

    def __call__(self, function: Callable[[], T]) -> T:
        try:
            if self._is_prepared:
                return self._threads.run(function, self._timeout_s)
            with self._first_call:
                result = self._threads.run(function, self._timeout_s)
                self._is_prepared = True
                return result
        except TimeoutError as error:
            raise Unavailable("the database does not answer in time") from error
        except NoThread as error:
            raise Unavailable("no thread can be started for the database") from error


def _first_line(error: Exception) -> str:
    """Return the driver's message, without the statement and its values."""
    cause = error.__cause__ or getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {str(cause).partition(chr(10))[0]}"
