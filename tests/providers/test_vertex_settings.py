"""Vertex AI's settings, and Application Default Credentials."""

import json
import math
import subprocess
import sys
from types import SimpleNamespace

import google.auth
import pytest
from google.auth import exceptions
from marshmallow import ValidationError

from app.config import SettingsError
from app.errors import CredentialsRefused
from app.providers import registry
from app.providers.http.transport import session
from app.providers.kinds import vertex
from tests.providers.contract import provider_settings
from tests.providers.fakes.vertex import key_file


def mistake(**given):
    with pytest.raises(ValidationError) as raised:
        provider_settings({"kind": "vertex", "project": "p", "location": "l", **given})
    return raised.value.normalized_messages()


def test_settings_are_checked_without_network(tmp_path):
    nothing = tmp_path / "nothing.json"
    assert "is not the key file" in mistake(key_file=str(nothing))["key_file"][0]
    nothing.write_text('{"type": "authorized_user"}')
    assert "is not the key file" in mistake(key_file=str(nothing))["key_file"][0]
    assert "key_file" in mistake(api_key="AIza-1")["api_key"][0]
    assert "location" in mistake(location="eu/../x")


def test_project_and_location_must_be_set():
    with pytest.raises(ValidationError) as raised:
        provider_settings({"kind": "vertex"})
    assert set(raised.value.normalized_messages()) == {"project", "location"}


def test_invalid_key_file_stops_the_start(tmp_path):
    path = tmp_path / "key.json"
    key_file(path, "https://oauth2.googleapis.com/token")
    path.write_text(json.dumps({**json.loads(path.read_text()), "private_key": "no"}))
    settings = {"kind": "vertex", "project": "p", "location": "l", "key_file": str(path)}
    with pytest.raises(SettingsError, match=r"PROVIDERS\['fake'\]\['key_file'\]"):
        registry.make(provider_settings(settings))


def test_checking_settings_imports_no_network_library():
    """gunicorn's master checks them before gevent patches the standard library."""
    code = (
        "import sys\n"
        "from app.providers import registry\n"
        "registry.options('vertex'), registry.options('bedrock'), registry.options('gemini')\n"
        "print([m for m in ('requests', 'urllib3', 'ssl', 'botocore') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


# What Google's libraries find by themselves ("Application Default Credentials")


def tokens(monkeypatch, credentials):
    def default(scopes, request):
        assert scopes == ["https://www.googleapis.com/auth/cloud-platform"]
        if isinstance(credentials, Exception):
            raise credentials
        return credentials, "a-project"

    monkeypatch.setattr(google.auth, "default", default)
    settings = {"kind": "vertex", "project": "p", "location": "l"}
    return vertex._tokens(provider_settings(settings))


def test_default_credentials_are_searched_at_first_use(monkeypatch):
    refreshed = []
    found = SimpleNamespace(token="t", expiry=None, refresh=refreshed.append)
    fetch = tokens(monkeypatch, found)
    assert not refreshed
    assert fetch() == ("t", math.inf)
    monkeypatch.setattr(google.auth, "default", None)  # once is enough
    assert fetch() == ("t", math.inf)
    assert len(refreshed) == 2


def test_missing_default_credentials_are_an_error(monkeypatch):
    fetch = tokens(monkeypatch, exceptions.DefaultCredentialsError("look at /home/op/.config"))
    with pytest.raises(CredentialsRefused) as raised:
        fetch()
    assert "/home" not in raised.value.message


def test_session_for_tokens_has_the_settings(tmp_path):
    settings = {"kind": "vertex", "project": "p", "location": "l"}
    plain = session(provider_settings(settings))
    assert (plain.trust_env, plain.proxies, plain.verify) == (False, {}, True)
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    settings |= {"proxy": "http://127.0.0.1:3128", "ca_bundle": str(bundle)}
    made = session(provider_settings(settings))
    assert set(made.proxies) == {"http", "https"}
    assert made.verify == str(bundle)
