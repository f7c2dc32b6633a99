"""The default settings: served models without and with each environment variable."""

import hashlib

import pytest

from app import config
from tests.checked_settings import SECRET
from tests.overlays import environment

__all__ = ["environment"]  # a fixture


def test_start_without_keys_is_refused_with_advice():
    with pytest.raises(config.SettingsError, match=r"^KEYS: no key may call.*ALPHANEURAL_API_KEY"):
        config.load()


def test_with_one_key_set_the_embedded_model_is_served(environment):
    environment("ALPHANEURAL_API_KEY", "sk-mine")
    checked = config.load()
    assert list(checked.models) == ["wordllama"]
    assert checked.models["wordllama"].matryoshka == (64, 128, 256)
    assert checked.keys["default"].sha256 == hashlib.sha256(b"sk-mine").hexdigest()
    assert checked.cache is not None
    assert checked.logs.format == "json"
    assert checked.docs.enabled


def test_openai_key_adds_its_models(environment):
    environment("ALPHANEURAL_API_KEY", "sk-mine")
    environment("OPENAI_API_KEY", SECRET)
    environment("LOG_FORMAT", "human")
    checked = config.load()
    assert {name: m.dimensions for name, m in checked.models.items()} == {
        "wordllama": 256,
        "text-embedding-3-small": 1536,
        "text-embedding-3-large": 3072,
        "text-embedding-ada-002": 1536,
    }
    assert checked.providers["openai"].api_key == SECRET
    assert checked.logs.format == "human"
    assert SECRET not in repr(checked)
