"""Fixtures of the ledger: databases of both kinds, with tables."""

from collections.abc import Iterator

import pytest

from app.config import DeploymentSettings, ModelSettings
from app.database.columns import COLUMNS
from app.database.engine import Database
from app.database.migrations import migrate
from app.domain import Caller, EmbeddingRequest, Outcome, Vectors
from app.exchange import Exchange
from app.usage.ledger import ledger as ledgers
from app.usage.ledger import shipper as shippers
from app.usage.ledger.journal import Journal
from app.usage.ledger.ledger import Ledger
from app.usage.ledger.shipper import Shipper
from app.usage.ledger.spool import Spool
from app.usage.record import Recorder
from app.usage.store.store import Store
from tests.support.postgres import Postgres
from tests.usage.fake_store import FakeStore

MODELS = {
    "m": ModelSettings(
        "m",
        (
            DeploymentSettings("p", "upstream-m", price_per_million_tokens=2.0),
            DeploymentSettings("q", "other-m", price_per_million_tokens=0.02),
            DeploymentSettings("free", "upstream-m"),
        ),
    )
}


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL that no test stops."""
    with Postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path) -> str:
    """A new database of either kind, empty."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/usage.db"
    return request.getfixturevalue("postgres").url()


@pytest.fixture
def database(url) -> Iterator[Database]:
    """A new database of either kind, with tables."""
    opened = Database(url)
    migrate(opened.engine)
    yield opened
    opened.close()


@pytest.fixture
def sqlite(tmp_path) -> Iterator[Database]:
    """A SQLite database with tables."""
    opened = Database(f"sqlite:///{tmp_path}/usage.db")
    migrate(opened.engine)
    yield opened
    opened.close()


@pytest.fixture
def store(database) -> Store:
    return Store(database)


@pytest.fixture
def fast_ledger(monkeypatch):
    monkeypatch.setattr(ledgers, "SPOOL_INTERVAL_S", 0.01)
    monkeypatch.setattr(ledgers, "SHIP_INTERVAL_S", 0.02)
    monkeypatch.setattr(ledgers, "SHUTDOWN_TIMEOUT_S", 20.0)
    monkeypatch.setattr(shippers, "MAX_RETRY_PAUSE_S", 0.05)
    monkeypatch.setattr(shippers, "ORPHAN_INTERVAL_S", 0.05)


@pytest.fixture
def fake_store(fast_ledger):
    return FakeStore()


@pytest.fixture
def make_ledger(tmp_path, fake_store):
    """Make ledgers that share one spool, and close them after the test."""
    made = []

    def make(max_bytes=2**20, chores=(), start=True, memory=None):
        writer = Ledger.new_writer()
        spool = Spool(str(tmp_path / "spool"), writer, max_bytes, memory)
        shipper = Shipper(fake_store, spool, list(chores))
        ledger = Ledger(Recorder(MODELS), spool, shipper, writer, Journal(memory, writer))
        made.append(ledger)
        if start:
            ledger.start()
        return ledger

    yield make
    fake_store.hold.set()
    for ledger in made:
        ledger.close()


def row(number, **values):
    """Return a row of the ledger."""
    usual = {
        "writer": "w",
        "number": number,
        "time": 1_000_000 + number,
        "request_id": "mine",
        "key": "team",
        "user": "",
        "model": "m",
        "provider": "p",
        "deployment": "d",
        "items": 1,
        "prompt_tokens": 10,
        "billed_tokens": 8,
        "cached_tokens": 2,
        "cost": 16,
        "ms": 5,
        "status": 200,
        "error_code": "",
        "space": "auto-0123456789abcdef",
        "service_tier": "default",
    }
    return [(usual | values)[name] for name in COLUMNS]


def exchange(path="/v1/embeddings", method="POST", caller="team", error=None, **request):
    """Return a finished exchange with the fields that observers read: two items of three tokens."""
    asked = EmbeddingRequest(**{"model": "m", "items": ["a", "b"], **request})
    outcome = None
    if error is None:
        source = ("p", "upstream-m")
        served = {"cache": "partial", "cached_tokens": 3, "sources": [source]}
        served["purchases"] = {source: 3}
        outcome = Outcome(Vectors([b"", b""], [3, 3]), "p", 1, **served)
    return Exchange(
        "mine",
        method,
        path,
        caller=Caller(caller) if caller else None,
        request=asked,
        outcome=outcome,
        error=error,
        space="auto-0123456789abcdef",
        seconds=0.0123,
        route="api.embeddings" if path == "/v1/embeddings" else "",
    )
