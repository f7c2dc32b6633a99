"""`create_app` makes a working app in the test process."""

import gc
import json
import logging
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from app import config
from app.factory import create_app
from tests.api.fake import AUTH, WIDTH, FakeProvider, app_with, ask, error_of, settings
from tests.support.vectors import assert_answers

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _quiet_afterwards():
    """Remove log handlers: they write to the test's standard output, which is closed after it."""
    yield
    logging.getLogger("app").handlers = []


@pytest.fixture
def provider():
    """The provider behind the app."""
    return FakeProvider()


@pytest.fixture
def client(monkeypatch, provider):
    """A client of an app with a cache."""
    return app_with(monkeypatch, provider)


def test_request_is_answered_and_then_served_from_cache(client, provider):
    miss = ask(client, input=["a", "b c"], caching=True)
    assert_answers(miss.json, ["a", "b c"], WIDTH)
    partial = ask(client, input=["new", "b c"], caching=True, encoding_format="base64")
    assert_answers(partial.json, ["new", "b c"], WIDTH)
    hit = ask(client, input=["b c", "a", "b c"], caching=True)
    assert_answers(hit.json, ["b c", "a", "b c"], WIDTH)
    assert [r.headers["x-proxy-cache"] for r in (miss, partial, hit)] == ["miss", "partial", "hit"]
    assert [r.headers["x-proxy-cached-tokens"] for r in (miss, partial, hit)] == ["0", "2", "5"]
    assert [r.json["usage"]["total_tokens"] for r in (miss, partial, hit)] == [3, 3, 5]
    assert provider.items == ["a", "b c", "new"]


def test_app_without_cache_answers(monkeypatch, provider):
    client = app_with(monkeypatch, provider, CACHE=None)
    assert ask(client, caching=True).headers["x-proxy-cache"] == "off"


def test_passed_field_reaches_the_provider(client, provider):
    assert ask(client, task={"a": [1, None, "ü"]}).status_code == 200
    assert provider.calls[0].passed == {"task": {"a": [1, None, "ü"]}}


def test_field_not_passed_on_is_a_400(client, provider):
    error = error_of(ask(client, model="steady", task="x"))
    assert (error.status, error.param) == (400, "task")
    assert error.message == "Unrecognized request argument supplied: task"
    assert not provider.calls


def test_dimensions_reach_a_provider_that_takes_them(client, provider):
    response = ask(client, dimensions=4)
    assert len(response.json["data"][0]["embedding"]) == 4
    assert provider.calls[0].dimensions == 4


@pytest.mark.parametrize("value", ['"\\ud800"', '{"a": ["\\udfff"]}', "1e999"])
def test_unencodable_passed_value_is_a_400(client, provider, value):
    """UTF-8 cannot encode half a surrogate pair, JSON has no infinity."""
    body = '{"model": "embed", "input": "x", "task": ' + value + "}"
    response = client.post("/v1/embeddings", data=body, headers=AUTH)
    error = error_of(response)
    assert (error.status, error.param) == (400, "task")
    assert not provider.calls


def test_the_callers_timeout_is_the_deadline(client, provider):
    seen = []
    embed = provider.embed

    def spy(call, deadline):
        seen.append(deadline.remaining())
        return embed(call, deadline)

    provider.embed = spy
    ask(client, timeout=7)
    assert 6 < seen[0] <= 7


def test_two_apps_in_one_process_share_nothing(monkeypatch):
    one, other = FakeProvider(), FakeProvider()
    first, second = app_with(monkeypatch, one), app_with(monkeypatch, other)
    for client in (first, second):
        assert ask(client, caching=True).headers["x-proxy-cache"] == "miss"
    assert (len(one.calls), len(other.calls)) == (1, 1)


def test_app_that_is_dropped_is_freed_with_its_files():
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    dropped = [weakref.ref(create_app(settings())) for _ in range(3)]
    gc.collect()
    assert [made() for made in dropped] == [None] * 3
    assert len(os.listdir("/proc/self/fd")) <= before


def test_invalid_settings_raise():
    with pytest.raises(config.SettingsError, match=r"^CACHE: must be a dictionary$"):
        create_app(settings(CACHE=3))


def test_settings_of_the_environment_are_the_default(monkeypatch):
    monkeypatch.delenv("PROXY_SETTINGS", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("ALPHANEURAL_API_KEY", "sk-mine")
    client = create_app().test_client()
    response = client.post(
        "/v1/embeddings",
        json={"model": "wordllama", "input": ["one text"], "dimensions": 64},
        headers={"Authorization": "Bearer sk-mine"},
    )
    assert response.status_code == 200
    assert len(response.json["data"][0]["embedding"]) == 64


@pytest.mark.parametrize(("on_drift", "warns"), [("eject", True), ("warn", False)])
def test_start_without_a_watch_for_drift_is_logged_where_it_should_eject(
    monkeypatch, capsys, on_drift, warns
):
    """The watch needs the directory that deploy/gunicorn.conf.py makes for the workers."""
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    app_with(monkeypatch, FakeProvider(), CHECK={"on_drift": on_drift})
    assert ("none is ejected for drift" in capsys.readouterr().out) == warns


def test_only_providers_that_serve_a_model_are_made(monkeypatch):
    made = []

    def make(provider):
        made.append(provider.name)
        return FakeProvider()

    monkeypatch.setattr("app.providers.registry.make", make)
    providers = {**settings()["PROVIDERS"], "unused": {"kind": "openai"}}
    create_app(settings(PROVIDERS=providers))
    assert made == ["fake"]


LIGHT = """
import json, sys
import app, app.config
print(json.dumps(list(sys.modules)))
"""


def test_importing_the_package_loads_no_network_library():
    """gunicorn's master checks settings before workers patch the standard library."""
    out = subprocess.check_output([sys.executable, "-c", LIGHT], cwd=ROOT)
    assert not {"flask", "requests", "urllib3"} & set(json.loads(out))
