"""Runs the commands ``key`` on a table of keys."""

import json
import re

import pytest
from click.testing import CliRunner

from app.auth.database_keys import DatabaseKeys
from app.auth.key_table import KeyTable
from app.cli.keys import key
from app.database.engine import Database
from app.database.migrations import migrate


def invoke(command, *arguments):
    return CliRunner().invoke(command, arguments)


def run(*arguments):
    return invoke(key, *arguments)


@pytest.fixture
def table(tmp_path, monkeypatch):
    path = tmp_path / "settings.py"
    url = f"sqlite:///{tmp_path}/keys.db"
    path.write_text(f"USAGE = {{'url': {url!r}, 'keys': True}}\n")
    monkeypatch.setenv("PROXY_SETTINGS", str(path))
    monkeypatch.setenv("ALPHANEURAL_API_KEY", "sk-mine")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    database = Database(url)
    migrate(database.engine)
    yield KeyTable(database)
    database.close()


def made(result):
    assert result.exit_code == 0, result.output
    (found,) = re.findall(r"sk-[\w-]+", result.stdout)
    return found


def owner(table, secret):
    known = DatabaseKeys(table)
    known.refresh()
    return known.identify(secret)


def shown(name):
    result = run("show", name, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)
