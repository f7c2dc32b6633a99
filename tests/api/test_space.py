"""The id of the vector space in answers, and the header by which a caller insists on one."""

import pytest

from app.config import check
from app.providers import registry
from tests.api.fake import AUTH, FakeProvider, app_with, ask, error_of, settings
from tests.support.settings import NARROW_KEY

DERIVED = check(settings(), registry).models
INSIST = "x-proxy-space"


@pytest.fixture
def fake():
    return FakeProvider()


@pytest.fixture
def client(monkeypatch, fake):
    """Client of an app whose model "steady" has a named space."""
    models = settings()["MODELS"]
    models["steady"]["space"] = "acme/bge-e"
    return app_with(monkeypatch, fake, MODELS=models)


def test_answers_name_the_space(client):
    derived = ask(client)
    assert derived.headers[INSIST] == DERIVED["embed"].space
    named = ask(client, model="steady", caching=True)
    assert named.headers.getlist(INSIST) == ["acme/bge-e"]
    assert ask(client, model="steady", caching=True).headers["x-proxy-cache"] == "hit"


def test_errors_name_the_space_once_the_model_is_known(client, fake):
    assert ask(client, model="steady", nonsense=1).headers[INSIST] == "acme/bge-e"
    assert INSIST not in ask(client, model="nope").headers
    assert INSIST not in ask(client, headers={"Authorization": f"Bearer {NARROW_KEY}"}).headers
    assert INSIST not in ask(client, headers={}).headers
    assert INSIST not in client.get("/v1/models", headers=AUTH).headers


def test_models_and_providers_name_the_space(monkeypatch, fake):
    keys = settings()["KEYS"]
    client = app_with(monkeypatch, fake, KEYS={**keys, "tests": {**keys["tests"], "admin": True}})
    listed = client.get("/v1/models", headers=AUTH).json["data"]
    assert {m["id"]: m["space"] for m in listed} == {n: m.space for n, m in DERIVED.items()}
    assert client.get("/v1/models/steady", headers=AUTH).json["space"] == DERIVED["steady"].space
    deployments = client.get("/v1/providers", headers=AUTH).json["data"]
    assert {d["model"]: d["space"] for d in deployments} == {n: m.space for n, m in DERIVED.items()}


def test_a_caller_that_insists_on_the_space_is_served(client):
    answer = ask(client, model="steady", headers={**AUTH, INSIST: "acme/bge-e"})
    assert answer.status_code == 200
    assert ask(client, headers={**AUTH, INSIST: DERIVED["embed"].space}).status_code == 200


@pytest.mark.parametrize(
    "wanted", ["other", "", "acme/bge-e, acme/bge-e", "Acme/bge-e", "x" * 5000]
)
def test_another_space_is_refused_before_any_call(client, fake, wanted):
    answer = ask(client, model="steady", caching=True, headers={**AUTH, INSIST: wanted})
    error = error_of(answer)
    assert (error.status, error.code, error.type) == (412, "space_changed", "invalid_request_error")
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers[INSIST] == "acme/bge-e"
    assert "`acme/bge-e`" in error.message
    assert f"`{wanted[:100]}" in error.message
    assert len(error.message) <= 300
    assert fake.calls == []


def test_refused_request_uses_none_of_the_key_s_limits(monkeypatch, fake):
    keys = settings()["KEYS"]
    limited = {**keys["tests"], "requests_per_minute": 2, "tokens_per_minute": 100}
    client = app_with(monkeypatch, fake, KEYS={**keys, "tests": limited})
    for _ in range(5):
        assert ask(client, headers={**AUTH, INSIST: "other"}).status_code == 412
    served = ask(client)
    assert served.status_code == 200
    assert served.headers["x-ratelimit-remaining-requests"] == "1"


def test_stored_space_is_refused_once_the_model_is_repointed(monkeypatch):
    def deployed(upstream):
        models = settings()["MODELS"]
        models["embed"]["deployments"] = [{"provider": "fake", "model": upstream}]
        return app_with(monkeypatch, FakeProvider(), MODELS=models)

    stored = ask(deployed("text-embedding-3-small")).headers[INSIST]
    insisting = {**AUTH, INSIST: stored}
    assert ask(deployed("bge-small-v2"), headers=insisting).status_code == 412
    assert ask(deployed("text-embedding-3-small"), headers=insisting).status_code == 200
