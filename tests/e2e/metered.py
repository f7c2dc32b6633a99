"""Proxies with a ledger, in SQLite or PostgreSQL, whose rows a test can count."""

import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from app.database.engine import Database
from app.database.migrations import migrate
from tests.support.postgres import Postgres
from tests.support.server import ROOT, Proxy, eventually
from tests.support.settings import KEYS, model, provider, settings_file
from tests.support.upstream import Upstream
from tests.support.valkey import Valkey


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


class Metered(Proxy):
    """A proxy with a ledger."""

    def __init__(
        self, directory: Path, url: str, upstream: Upstream, limits: dict[str, str], **options
    ) -> None:
        self.ledger, self.spool = url, directory / "spool"
        limited = {"admin": True, "requests_per_minute": 10**9, "tokens_per_month": 10**12}
        services = {
            "USAGE": {"url": url, "spool": str(self.spool), "keys": True},
            "LIMITS": limits,
        }
        self.settings = settings_file(
            directory,
            {"p": provider(upstream)},
            {"embed": model("p")},
            {"tests": KEYS["tests"] | limited},
            **services,
        )
        super().__init__(directory, self.settings, **options)
        database = Database(url)
        migrate(database.engine)
        database.close()

    def flask(self, *arguments: str) -> str:
        """Return the output of a command for operators."""
        command = [sys.executable, "-m", "flask", "--app", "wsgi", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    def rows(self) -> Counter[str]:
        """Return the request ids in the ledger with their counts."""
        query = "SELECT request_id FROM usage_requests"
        if self.ledger.startswith("sqlite"):
            with sqlite3.connect(self.ledger.removeprefix("sqlite:///")) as connection:
                found = connection.execute(query).fetchall()
            connection.close()
        else:
            with psycopg.connect(self.ledger.replace("+psycopg", "")) as connection:
                found = connection.execute(query).fetchall()
        return Counter(request_id for (request_id,) in found)

    def spooled(self) -> list[Path]:
        """Return files with rows; keys.json and blocks.json are beside them."""
        return [path for path in self.spool.glob("*") if ".json" not in path.name]

    def settled(self, expected: set[str]) -> None:
        """Return whether all these ids are in the ledger once, and the spool is empty."""
        eventually(lambda: expected <= self.rows().keys(), 60, "every answer is in the ledger")
        eventually(lambda: not self.spooled(), 60, "the spool is empty")
        assert set(self.rows().values()) == {1}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(32) as server:
        yield server


@pytest.fixture
def start(tmp_path, upstream, request) -> Iterator[Callable[..., Metered]]:
    """Starts proxies with a ledger in a new database."""
    started: list[Metered] = []

    def of(
        kind: str, worker_class: str = "gevent", workers: int = 2, valkey: Valkey | None = None
    ) -> Metered:
        url = f"sqlite:///{tmp_path}/usage.db"
        if kind == "postgresql":
            url = request.getfixturevalue("postgres").url()
        limits = {"url": valkey.url} if valkey else {}
        options = {"worker_class": worker_class, "workers": workers}
        proxy = Metered(tmp_path, url, upstream, limits, **options)
        started.append(proxy)
        return proxy.__enter__()

    yield of
    for proxy in started:
        if proxy.process.poll() is None:
            proxy.stop()
