"""Fixtures of the commands: the ledger's database, and the check of deployments."""

import pytest
from click.testing import CliRunner

from app.cli import commands as cli
from app.providers import registry
from tests.usage.conftest import database as database
from tests.usage.conftest import postgres as postgres
from tests.usage.conftest import sqlite as sqlite
from tests.usage.conftest import store as store
from tests.usage.conftest import url as url


@pytest.fixture
def check(monkeypatch, tmp_path):
    """Runs the command for one model with these providers as its deployments.

    ``others`` are further settings by name.
    """

    def run(*arguments, dimensions=16, max_inputs=None, matryoshka=False, others=(), **providers):
        limit = {"max_inputs": max_inputs} if max_inputs else {}
        names = {
            "PROVIDERS": {n: {"kind": "openai", "api_key": "k", **limit} for n in providers},
            "MODELS": {
                "m": {
                    **({"dimensions": dimensions} if dimensions else {}),
                    "matryoshka": matryoshka,
                    "deployments": [{"provider": n, "model": "x"} for n in providers],
                }
            },
            "KEYS": {"k": {"sha256": "0" * 64}},
            **dict(others),
        }
        path = tmp_path / "settings.py"
        path.write_text("".join(f"{name} = {value!r}\n" for name, value in names.items()))
        monkeypatch.setenv("PROXY_SETTINGS", str(path))
        monkeypatch.setattr(registry, "make", lambda settings: providers[settings.name])
        return CliRunner().invoke(cli.check, arguments)

    return run
