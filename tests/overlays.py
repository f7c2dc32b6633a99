"""Settings of an operator's file, without those of the environment."""

import pytest

from app import config
from app.providers import registry


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Remove settings of the developer's environment."""
    for name in ("OPENAI_API_KEY", "ALPHANEURAL_API_KEY", "PROXY_SETTINGS", "WEB_CONCURRENCY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("LOG_FORMAT", raising=False)
    return monkeypatch.setenv


@pytest.fixture
def overlay(tmp_path, environment):
    """Load the settings with an overlay of this text."""
    path = tmp_path / "mine.py"
    environment("PROXY_SETTINGS", str(path))
    environment("ALPHANEURAL_API_KEY", "sk-mine")

    def load(text):
        path.write_text(text)
        return config.load(registry)

    load.path = path
    return load
