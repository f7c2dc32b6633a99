"""Fixtures of the ledger's database, and of its table of keys."""

import pytest

from app.auth import database_keys as module
from app.auth.key_table import KeyTable
from tests.support.clock import Clock
from tests.usage.conftest import database as database
from tests.usage.conftest import postgres as postgres
from tests.usage.conftest import sqlite as sqlite
from tests.usage.conftest import store as store
from tests.usage.conftest import url as url


@pytest.fixture
def clock(monkeypatch):
    clock = Clock(1_000_000)
    monkeypatch.setattr(module.time, "time", clock)
    return clock


@pytest.fixture
def table(database, clock):
    return KeyTable(database, clock)
