"""The database: one engine a process, and how it is waited for without holding others up."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection

T = TypeVar("T")

#: Seconds after which a server that does not answer is taken for dead.
_PATIENCE = 10
#: What SQLite waits for another process that writes, in milliseconds.
_BUSY_MS = 10_000

_POSTGRESQL = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": _PATIENCE * 1000,
    "options": f"-c statement_timeout={_PATIENCE * 1000} -c timezone=UTC",
    "application_name": "embeddings-proxy",
}


#: Drivers raise the last two before the database is asked: an integer over 64 bits in SQLite, a text
#: that is not UTF-8 in either.
_REFUSALS = (exc.DataError, exc.IntegrityError, OverflowError, UnicodeError)


class Unavailable(Exception):
    """The database does not answer, or has not the tables: later it may."""


class Refused(Exception):
    """The database will not take this, however often it is asked."""


class Database:
    """Runs functions in a transaction each. Connects when first asked."""

    def __init__(self, url: str) -> None:
        self.is_sqlite = url.startswith("sqlite")
        # A connection kept is checked before use: else a restart of the server fails each once.
        # SQLite's cost nothing to make, and with none kept, threads share none.
        options: dict[str, Any] = (
            {"poolclass": sa.NullPool} if self.is_sqlite else {"pool_pre_ping": True}
        )
        arguments = {"timeout": _BUSY_MS / 1000} if self.is_sqlite else _POSTGRESQL
        self.engine = sa.create_engine(url, connect_args=arguments, **options)
        if self.is_sqlite:
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
        self._call = _in_a_thread if self.is_sqlite and _is_gevent() else _here

    def run(self, function: Callable[[Connection], T]) -> T:
        """What ``function`` returns, committed. Raises `Unavailable` or `Refused`."""
        return self._call(lambda: self._run(function))

    def _run(self, function: Callable[[Connection], T]) -> T:
        try:
            with self.engine.begin() as connection:
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
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={_BUSY_MS}"):
        connection.execute(f"PRAGMA {pragma}").close()


def _here(function: Callable[[], T]) -> T:
    return function()


def _is_gevent() -> bool:
    if "gevent.monkey" not in sys.modules:
        return False
    from gevent.monkey import is_module_patched

    return bool(is_module_patched("threading"))


def _in_a_thread(function: Callable[[], T]) -> T:
    """SQLite waits in C, where gevent cannot switch: so it does in a thread of the hub's own."""
    from gevent import get_hub

    result: T = get_hub().threadpool.apply(function)
    return result


def _first_line(error: Exception) -> str:
    """What the driver says, without the statement and its values."""
    cause = error.__cause__ or getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {str(cause).partition(chr(10))[0]}"
