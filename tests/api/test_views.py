"""The routes of the API: paths, authentication, responses."""

import base64
import json

import numpy as np
import pytest
from werkzeug.test import EnvironBuilder, run_wsgi_app

from tests.api.fake import AUTH, WIDTH, app_with, ask, error_of
from tests.support.settings import KEY, NARROW_KEY, key
from tests.support.vectors import assert_answers, vector

PATHS = [
    "/v1/embeddings",
    "/v1/embeddings/",
    "/embeddings",
    "/openai/v1/embeddings",
    "/v1/embeddings?api-version=2024-10-21&x=%00",
]
NAMED = ["/openai/deployments/{}/embeddings", "/v1/engines/{}/embeddings"]


@pytest.mark.parametrize("path", PATHS)
def test_all_sdk_paths_give_the_same_response(client, path):
    response = ask(client, path, input=["a", "b"])
    assert response.status_code == 200
    assert_answers(response.json, ["a", "b"], WIDTH)
    assert response.json["usage"] == {"prompt_tokens": 2, "total_tokens": 2}


@pytest.mark.parametrize("path", NAMED)
@pytest.mark.parametrize("model", ["embed", "org/model"])
def test_model_in_path_replaces_the_field(client, path, model):
    response = ask(client, path.format(model), model="ignored")
    assert response.status_code == 200
    assert response.json["model"] == model
    error = error_of(ask(client, path.format("unknown")))
    assert (error.status, error.code) == (404, "model_not_found")


def test_a_target_without_a_path_is_the_root(client):
    """``GET http://host HTTP/1.1`` has an empty path, which means "/" (RFC 9110, 4.2.3)."""
    environ = EnvironBuilder("/").get_environ() | {"PATH_INFO": ""}
    app_iter, status, _ = run_wsgi_app(client.application, environ)
    assert (status, json.loads(b"".join(app_iter))["object"]) == ("200 OK", "service")


def test_leading_slashes_take_no_memory(client):
    """Clients without a key could fill it otherwise, with paths of 8 KB that lead to one rule."""
    app = client.application
    sizes = set()
    for slashes in range(1, 20):
        environ = EnvironBuilder("/").get_environ()
        environ["PATH_INFO"] = "/" * slashes + "health/live"
        _, status, _ = run_wsgi_app(app, environ)
        assert status == "200 OK"
        sizes.add(len(app._matched))
    assert len(sizes) == 1


def test_a_path_is_utf8(client):
    error = error_of(client.get("/v1/models/modèle-日本", headers=AUTH))
    assert (error.status, error.code) == (404, "model_not_found")
    assert "`modèle-日本`" in error.message


def test_base64_and_floats_are_the_same_vector(client):
    floats = ask(client, input="x").json["data"][0]["embedding"]
    packed = ask(client, input="x", encoding_format="base64").json["data"][0]["embedding"]
    assert base64.b64decode(packed) == np.array(floats, "<f4").tobytes()
    assert base64.b64decode(packed) == vector("x", WIDTH).tobytes()


def test_response_headers_name_cache_provider_and_attempts(client, provider):
    headers = ask(client).headers
    assert headers["x-proxy-cache"] == "off"
    assert headers["x-proxy-cached-tokens"] == "0"
    assert headers["x-proxy-provider"] == "fake"
    assert headers["x-proxy-attempts"] == "1"
    queue, upstream, total = headers["Server-Timing"].split(", ")
    assert queue.startswith("queue;dur=")
    assert upstream.startswith("upstream;dur=")
    assert float(total.removeprefix("total;dur=")) >= float(upstream.removeprefix("upstream;dur="))
    assert "x-proxy-usage" not in headers
    provider.estimated = True
    assert ask(client).headers["x-proxy-usage"] == "estimated"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer {KEY}"},
        {"authorization": f"BEARER  {KEY} "},
        {"api-key": KEY},
        {"Authorization": "Basic eDp5", "api-key": KEY},
        {"Authorization": "Bearer ", "api-key": KEY},
        {"Authorization": f"Bearer {KEY}", "api-key": "sk-another"},
    ],
)
def test_key_is_read_from_both_headers(client, headers):
    assert ask(client, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "You didn't provide an API key."),
        ({"Authorization": "Bearer"}, "You didn't provide an API key."),
        ({"Authorization": "Bearer   "}, "You didn't provide an API key."),
        ({"Authorization": KEY}, "You didn't provide an API key."),
        ({"Authorization": f"Basic {KEY}"}, "You didn't provide an API key."),
        ({"api-key": ""}, "You didn't provide an API key."),
        ({"Authorization": "Bearer sk-wrong"}, "Incorrect API key provided."),
        ({"Authorization": f"Bearer {KEY}x"}, "Incorrect API key provided."),
        ({"api-key": "sk-wrong"}, "Incorrect API key provided."),
    ],
)
@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/models", "/v1/models/embed"])
def test_missing_or_wrong_key_is_a_401(client, headers, message, path):
    method = client.post if path.endswith("embeddings") else client.get
    response = method(path, headers=headers)
    error = error_of(response)
    assert (error.status, error.code, error.type) == (
        401,
        "invalid_api_key",
        "invalid_request_error",
    )
    assert error.message.startswith(message)
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert "sk-" not in response.text


def test_a_key_may_use_its_own_models_and_no_others(client, provider):
    narrow = {"Authorization": f"Bearer {NARROW_KEY}"}
    assert ask(client, headers=narrow, model="steady").status_code == 200
    error = error_of(ask(client, headers=narrow, model="embed"))
    assert (error.status, error.code) == (403, "model_not_allowed")
    assert error.message == "This key may not use the model `embed`."
    assert len(provider.calls) == 1


@pytest.mark.parametrize(
    ("options", "may", "may_not"),
    [
        ({}, ("auto", "default", "flex"), ("priority",)),
        ({"service_tier": "priority"}, ("auto", "default", "flex", "priority"), ()),
        ({"service_tier": "flex"}, ("auto", "default", "flex"), ("priority",)),
        (
            {"service_tier": "flex", "service_tiers": []},
            ("auto", "flex"),
            ("default", "priority"),
        ),
        ({"service_tiers": ["priority"]}, ("auto", "default", "priority"), ("flex",)),
    ],
)
def test_a_key_may_ask_for_its_service_tiers_and_no_others(
    monkeypatch, provider, options, may, may_not
):
    keys = {"team": {**key("sk-team", "*"), **options}}
    client, headers = app_with(monkeypatch, provider, KEYS=keys), {"api-key": "sk-team"}
    for tier in may:
        response = ask(client, headers=headers, service_tier=tier)
        assert response.status_code == 200
        assert list(response.json) == ["object", "data", "model", "usage"]
    assert len(provider.calls) == len(may)
    for tier in may_not:
        error = error_of(ask(client, headers=headers, service_tier=tier))
        assert vars(error) == {
            "status": 403,
            "message": f"This key may not ask for the service tier '{tier}'.",
            "type": "invalid_request_error",
            "param": "service_tier",
            "code": "service_tier_not_allowed",
        }
    assert len(provider.calls) == len(may)


def test_an_unknown_model_is_openais_404(client):
    error = error_of(ask(client, model="unknown"))
    assert vars(error) == {
        "status": 404,
        "message": "The model `unknown` does not exist or you do not have access to it.",
        "type": "invalid_request_error",
        "param": None,
        "code": "model_not_found",
    }


@pytest.mark.parametrize("path", ["/v1/models", "/models", "/openai/v1/models"])
def test_models_are_listed_as_openai_does(client, path):
    listed = client.get(path, headers=AUTH).json
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["embed", "steady", "org/model"]
    for model in listed["data"]:
        assert client.get(f"{path}/{model['id']}", headers=AUTH).json == model
    assert listed["data"][0] == {
        "id": "embed",
        "object": "model",
        "created": 0,
        "owned_by": "fake",
        "dimensions": WIDTH,
        "space": listed["data"][0]["space"],
    }
    assert listed["data"][2]["dimensions"] is None


def test_a_key_sees_only_the_models_it_may_use(client):
    narrow = {"Authorization": f"Bearer {NARROW_KEY}"}
    listed = client.get("/v1/models", headers=narrow).json["data"]
    assert [model["id"] for model in listed] == ["steady"]
    for name in ("embed", "unknown"):
        error = error_of(client.get(f"/v1/models/{name}", headers=narrow))
        assert (error.status, error.code) == (404, "model_not_found")


def test_health_needs_no_key(client):
    assert client.get("/health/live").json == {"status": "ok"}
    assert client.get("/health/ready").json == {"status": "ok"}
