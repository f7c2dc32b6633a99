"""Rows of the table that this version cannot enforce are skipped."""

import hashlib

import pytest
import sqlalchemy as sa

from app.auth.database_keys import DatabaseKeys
from app.auth.key_entry import KeyEntry
from app.auth.key_table import KeyTable
from app.database.engine import Database
from app.database.migrations import migrate
from app.database.tables import keys as rows
from app.errors import Unauthorized

ODD = [
    {"limits": {"requests_per_fortnight": 5}},  # of a later version
    {"limits": {"requests_per_minute": "many"}},
    {"limits": {"requests_per_minute": True}},
    {"limits": {"dollars_per_month": -1}},
    {"limits": {"dollars_per_month": True}},
    {"limits": {"dollars_per_month": "5"}},
    {"limits": {"warn_at": 7}},
    {"limits": {"tokens_per_day": None}},
    {"limits": {"tokens_per_day": 1.5}},
    {"limits": {"share": 0}},
    {"limits": {"share": True}},
    {"limits": {"fair_users": 1}},
    {"limits": {"service_tier": "auto"}},
    {"limits": {"service_tiers": "flex"}},
    {"limits": {"service_tiers": ["scale"]}},
    {"limits": 5},
    {"networks": ["10.0.0.1/8"]},
    {"networks": None},
    {"models": None},
    {"name": "a\nb"},
    {"name": ""},
    {"name": "oidc:alice"},
]


def put(table, key, **columns):
    """Insert a row as another program might, and increment the version."""
    entry = {"name": key, "models": ["*"], "admin": False, "limits": {}, "networks": []}
    values = {**entry, "created": 1, "sha256": hashlib.sha256(key.encode()).hexdigest(), **columns}
    table._change(lambda connection: connection.execute(sa.insert(rows).values(values)))


def test_invalid_rows_are_skipped_and_logged(table, known, caplog):
    good = table.new(KeyEntry("good"))
    for number, columns in enumerate(ODD):
        put(table, f"sk-odd-{number}", **columns)
    known.refresh()
    assert known.identify(good)[0].name == "good"
    for number in range(len(ODD)):
        with pytest.raises(Unauthorized):
            known.identify(f"sk-odd-{number}")
    assert caplog.text.count("in the table is skipped") == len(ODD)
    assert "the key 'sk-odd-0' in the table is skipped" in caplog.text
    assert "good" in [entry.name for entry in table.read()[1]]


@pytest.mark.parametrize("amount", ["1e999", "-1e999", "NaN"])
def test_row_with_an_infinite_limit_is_skipped(tmp_path, caplog, amount):
    """JSON has no such numbers, but SQLite stores any text, and Python's parser reads them."""
    database = Database(f"sqlite:///{tmp_path}/keys.db")
    migrate(database.engine)
    table = KeyTable(database)
    put(table, "sk-odd")
    text = f"""UPDATE access_keys SET limits = '{{"dollars_per_month": {amount}}}'"""
    table._change(lambda connection: connection.execute(sa.text(text)))
    keys = DatabaseKeys(table)
    keys.refresh()
    with pytest.raises(Unauthorized):
        keys.identify("sk-odd")
    assert "the key 'sk-odd' in the table is skipped" in caplog.text
    assert "dollars_per_month" in caplog.text
    database.close()


def test_row_with_invalid_json_is_skipped(tmp_path, caplog):
    """SQLite stores any text in a JSON column."""
    database = Database(f"sqlite:///{tmp_path}/keys.db")
    migrate(database.engine)
    table = KeyTable(database)
    good = table.new(KeyEntry("good"))
    put(table, "sk-odd")
    put(table, "sk-digest", sha256="no digest")
    text = "UPDATE access_keys SET limits = 'oops' WHERE name = 'sk-odd'"
    table._change(lambda connection: connection.execute(sa.text(text)))
    keys = DatabaseKeys(table)
    keys.start()
    assert keys._task.stop(5)
    assert keys.identify(good)[0].name == "good"
    assert caplog.text.count("in the table is skipped") == 2
    database.close()


@pytest.fixture
def known(table):
    """The keys in a worker's memory; tests call `refresh`."""
    keys = DatabaseKeys(table)
    keys.refresh()
    return keys
