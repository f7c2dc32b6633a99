"""Good settings, and the mistakes that a check finds in others."""

import pytest

from app import config
from app.providers import registry

SECRET = "sk-secret-0123456789"


def good():
    """Return settings without a mistake."""
    return {
        "PROVIDERS": {"openai": {"kind": "openai", "api_key": SECRET}},
        "MODELS": {
            "m": {"dimensions": 8, "deployments": [{"provider": "openai", "model": "x"}]},
        },
        "KEYS": {"k": {"sha256": "0" * 64}},
        "CACHE": {},
        "LIMITS": {},
        "LOGS": {},
        "DOCS": {},
    }


def put(settings, path, value):
    """Set the value at a path like ("KEYS", "k", "sha256")."""
    *parents, last = path
    for name in parents:
        settings = settings[name]
    settings[last] = value


def mistakes(settings):
    with pytest.raises(config.SettingsError) as caught:
        config.check(settings, registry)
    return str(caught.value).splitlines()
