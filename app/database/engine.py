"""The database: one engine a process, and how it is waited for without holding others up."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection

T = TypeVar("T")

#: Seconds after which a server that does not answer is taken for dead.
_PATIENCE = 10
#: Threads of one database, for SQLite under gevent.
_MAX_THREADS = 4
#: Seconds that a thread may take beyond the time limit of its transaction.
_GRACE_S = 1.0
#: Steps of SQLite's virtual machine between looks at the clock: less than a millisecond.
_STEPS_BETWEEN_LOOKS = 10_000
#: What SQLite waits for another process that writes, in milliseconds.
_BUSY_MS = 10_000

#: Drivers raise the last two before the database is asked: an integer over 64 bits in SQLite, a
#: text that is not UTF-8 in either.
_REFUSALS = (exc.DataError, exc.IntegrityError, OverflowError, UnicodeError)


class Unavailable(Exception):
    """The database does not answer, or has not the tables: later it may."""


class Refused(Exception):
    """The database will not take this, however often it is asked."""


class Database:
    """Runs functions in a transaction each. Connects when first asked."""

    def __init__(self, url: str, time_limit_s: float | None = None) -> None:
        """``time_limit_s``: of one transaction; None: none in SQLite, ten seconds of a statement in
        PostgreSQL."""
        self.is_sqlite = url.startswith("sqlite")
        self._time_limit_s = time_limit_s
        # A connection kept is checked before use: else a restart of the server fails each once.
        # SQLite's cost nothing to make, and with none kept, threads share none.
        options: dict[str, Any] = (
            {"poolclass": sa.NullPool} if self.is_sqlite else {"pool_pre_ping": True}
        )
        arguments = {"timeout": _BUSY_MS / 1000} if self.is_sqlite else _postgresql(time_limit_s)
        self.engine = sa.create_engine(url, connect_args=arguments, **options)
        self._call: Callable[[Callable[[], Any]], Any] = _here
        if self.is_sqlite:
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            if _is_gevent():
                self._call = _Threads(time_limit_s)

    def run(self, function: Callable[[Connection], T]) -> T:
        """What ``function`` returns, committed. Raises `Unavailable` or `Refused`."""
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
    # WAL: readers and the writer do not wait for each other. NORMAL: a commit waits for no disk;
    # what a power cut may lose is the last moment, and never the file's consistency.
    for pragma in (f"busy_timeout={_BUSY_MS}", "journal_mode=WAL", "synchronous=NORMAL"):
        connection.execute(f"PRAGMA {pragma}").close()


def _postgresql(time_limit_s: float | None) -> dict[str, Any]:
    limit_ms = round((time_limit_s or _PATIENCE) * 1000)
    return {
        "connect_timeout": 5,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": _PATIENCE * 1000,
        "options": f"-c statement_timeout={limit_ms} -c timezone=UTC",
        "application_name": "embeddings-proxy",
    }


def _interrupt_after(connection: Connection, seconds: float) -> None:
    """End what SQLite does on this connection with an error when so many seconds have passed."""
    end = time.monotonic() + seconds
    driver: Any = connection.connection.dbapi_connection
    driver.set_progress_handler(lambda: time.monotonic() > end, _STEPS_BETWEEN_LOOKS)


def _here(function: Callable[[], T]) -> T:
    return function()


def _is_gevent() -> bool:
    if "gevent.monkey" not in sys.modules:
        return False
    from gevent.monkey import is_module_patched

    return bool(is_module_patched("threading"))


class _Threads:
    """SQLite waits in C, where gevent cannot switch: so it does in threads, of one database each.

    Not in those of gevent's hub: there are ten of them, and look-ups of names need them.
    """

    def __init__(self, time_limit_s: float | None) -> None:
        self._time_limit_s = time_limit_s
        self._pool: Any = None  # made in the process that uses it

    def __call__(self, function: Callable[[], T]) -> T:
        from gevent import Timeout
        from gevent.threadpool import ThreadPool

        if self._pool is None:
            self._pool = ThreadPool(_MAX_THREADS)
        limit = None if self._time_limit_s is None else self._time_limit_s + _GRACE_S
        error = Unavailable("the database does not answer in time")
        with Timeout(limit, error):
            result: T = self._pool.apply(function)
        return result


def _first_line(error: Exception) -> str:
    """What the driver says, without the statement and its values."""
    cause = error.__cause__ or getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {str(cause).partition(chr(10))[0]}"
