"""Answers, headers and paths of the API, byte by byte."""

import json
import re

import pytest

from tests.e2e.bad_http import LENGTH, TYPE, framed
from tests.support.settings import KEY, NARROW_KEY
from tests.support.vectors import assert_answers, decode, encode, vector

GOOD = {"model": "embed", "input": "hello there"}
PATHS = [
    "/v1/embeddings",
    "/embeddings",
    "/openai/deployments/embed/embeddings",
    "/v1/engines/embed/embeddings",
]


def test_answer_is_exact(client, upstream):
    answer = client.post(GOOD)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": answer.embeddings[0]}],
        "model": "embed",
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    }
    assert all(type(value) is float for value in answer.embeddings[0])
    assert_answers(answer.json, ["hello there"], 32)


def test_base64_is_the_bytes_of_the_provider(client, upstream):
    (embedding,) = client.post({**GOOD, "encoding_format": "base64"}).embeddings
    assert embedding == encode(vector("hello there", 32))


def test_floats_are_short_and_exact(client, upstream):
    """A float32 needs nine digits; a double has seventeen, twice the bytes."""
    answer = client.post(GOOD)
    assert decode(answer.embeddings[0]).tobytes() == vector("hello there", 32).tobytes()
    longest = max(len(number.strip()) for number in re.findall(r"-?0\.\d+", answer.text))
    assert longest <= 16


def test_an_answer_has_its_headers(client, upstream):
    headers = client.post(GOOD).headers
    assert re.fullmatch(r"[\w-]{8,}", headers["x-request-id"])
    assert headers["x-proxy-cache"] == "off"
    assert headers["x-proxy-cached-tokens"] == "0"
    assert headers["x-proxy-provider"] == "scripted"
    assert headers["x-proxy-attempts"] == "1"
    timing = re.findall(r"(\w+);dur=([\d.]+)", headers["server-timing"])
    assert [name for name, _ in timing] == ["queue", "upstream", "total"]
    assert 0 <= float(timing[0][1]) < float(timing[2][1])
    assert 0 < float(timing[1][1]) <= float(timing[2][1])


@pytest.mark.parametrize("given", ["abc", "my-request_1.2", "0" * 64])
def test_well_formed_request_id_is_returned(client, given):
    for answer in (client.post(GOOD, X_Request_Id=given), client.get("/no", X_Request_Id=given)):
        assert answer.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", "<x>", "x" * 1000, 'a"b', "a,b;c"])
def test_other_request_id_is_replaced(client, given):
    found = client.post(GOOD, X_Request_Id=given).headers["x-request-id"]
    assert found != given
    assert re.fullmatch(r"[\w-]{8,}", found)


@pytest.mark.parametrize("path", [*PATHS, *(f"{path}?api-version=2024-10-21&x=" for path in PATHS)])
@pytest.mark.parametrize("header", ["authorization", "api-key"])
def test_paths_of_other_sdks_give_the_same_answer(client, upstream, path, header):
    key = {"api_key": KEY, "Authorization": None} if header == "api-key" else {}
    answer = client.post(GOOD, path, **key)
    assert answer.status == 200, answer.text
    assert_answers(answer.json, ["hello there"], 32)
    assert answer.json["model"] == "embed"


@pytest.mark.parametrize("path", PATHS[2:])
def test_model_in_path_is_used(client, upstream, path):
    """Azure clients omit the model in the body, or repeat it."""
    answer = client.post({"input": "hello"}, path)
    assert answer.status == 200, answer.text
    assert answer.json["model"] == "embed"
    unknown = client.post({"input": "hello"}, path.replace("embed/", "unknown/"))
    assert (unknown.status, unknown.error["code"]) == (404, "model_not_found")


def test_dimensions_are_applied(client, upstream):
    for model in ("embed", "cut", "cut-some"):
        answer = client.embed(model, "hello", dimensions=8)
        assert_answers(answer.json, ["hello"], 8)
    sent = [call.body.get("dimensions") for call in upstream.calls]
    assert sent == [8, None, None]  # the latter two are cut by the proxy
    assert_answers(client.embed("uncut", "hello", dimensions=32).json, ["hello"], 32)


@pytest.mark.parametrize("dimensions", [33, 10**6, 2**63, 10**30])
def test_impossible_dimensions_are_a_400(client, upstream, dimensions):
    """The proxy refuses them, or the provider does."""
    answer = client.embed("embed", "hello", dimensions=dimensions)
    assert answer.status == 400, answer.text
    assert "dimensions" in answer.error["message"]


def test_passed_field_reaches_the_provider(client, upstream):
    answer = client.embed("embed", "hello", task="search")
    assert_answers(answer.json, ["hello"], 32, "search")
    assert upstream.calls[0].body["task"] == "search"


def test_models_are_listed(proxy, client):
    answer = client.get("/v1/models").json
    assert answer.keys() == {"object", "data"}
    assert answer["object"] == "list"
    found = {entry["id"]: entry for entry in answer["data"]}
    assert {"embed", "steady", "wordllama"} <= found.keys()
    assert found["embed"].items() >= {"object": "model", "dimensions": 32}.items()
    assert isinstance(found["embed"]["created"], int)
    assert isinstance(found["embed"]["owned_by"], str)
    assert client.get("/v1/models/embed").json == found["embed"]


def test_only_models_of_the_key_are_listed(proxy):
    narrow = proxy.client(NARROW_KEY)
    assert [entry["id"] for entry in narrow.get("/v1/models").json["data"]] == ["steady"]
    assert narrow.get("/v1/models/steady").status == 200
    hidden = narrow.get("/v1/models/embed")
    assert hidden.status in (403, 404)
    assert hidden.error["code"] in ("model_not_allowed", "model_not_found")


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_health_needs_no_key(default_proxy, path):
    """A fresh proxy is not ready while a model has no deployment that can serve it."""
    stranger = default_proxy.client(key=None)
    answer = stranger.get(path)
    assert answer.status == 200
    assert answer.headers["x-request-id"]
    assert stranger.request("HEAD", path).status == 200


@pytest.mark.parametrize(
    "data",
    [
        framed(LENGTH, TYPE),
        framed(LENGTH),
        framed(LENGTH, TYPE, line="POST /v1/embeddings HTTP/1.0"),
        framed(LENGTH, "content-type: application/json; charset=utf-8"),
        framed(LENGTH, "Content-Type: Application/JSON"),
        framed(
            LENGTH,
            TYPE,
            "Connection: Upgrade, HTTP2-Settings",
            "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
        ),
        framed(LENGTH, TYPE, "Connection: close"),
        framed(LENGTH, TYPE, "Accept: text/html", "Accept-Encoding: br, gzip", "TE: trailers"),
        framed(
            LENGTH, TYPE, "Openai-Organization: org-1", "X-Stainless-Lang: python", "Cookie: a=b"
        ),
        framed(LENGTH, TYPE).replace(b"Authorization: Bearer", b"authorization: bearer"),
        framed(LENGTH, TYPE).replace(b"Authorization: Bearer", b"AUTHORIZATION: BEARER"),
        b"\r\n" + framed(LENGTH, TYPE),
    ],
    ids=[
        "plain",
        "no content type",
        "HTTP/1.0",
        "a charset",
        "a type in capitals",
        "an offer of h2c",
        "closing",
        "another taste",
        "an SDK's headers",
        "lower case",
        "upper case",
        "an empty line first",
    ],
)
def test_unusual_clients_are_served(client, data):
    answer = client.raw(data)
    assert answer.status == 200, answer.text
    assert_answers(answer.json, ["hello"], 32)


def test_client_that_waits_for_100_continue_is_served(client):
    data = framed(LENGTH, TYPE, "Expect: 100-continue", "Connection: close")
    replies = client.raw_bytes(data, finish=False)
    assert replies.startswith(b"HTTP/1.1 100 Continue\r\n")
    assert b"HTTP/1.1 200 OK" in replies


@pytest.mark.parametrize("escaped", [True, False])
def test_text_of_any_script_is_embedded(client, upstream, escaped):
    texts = ["naïve café", "日本語", "שלום", "👩‍👩‍👧", "a\u2028b", "\x7f", 'quo"te\\', "z" * 20_000]
    body = json.dumps({"model": "embed", "input": texts}, ensure_ascii=escaped).encode()
    assert_answers(client.post(body).json, texts, 32)
    assert upstream.seen == texts


def test_large_batch_is_embedded_in_both_encodings(client, upstream):
    texts = [f"text {i}" for i in range(2048)]
    for encoding in ("float", "base64"):
        answer = client.embed("embed", texts, encoding_format=encoding)
        assert answer.status == 200, answer.text[:500]
        assert_answers(answer.json, texts, 32)
        assert answer.json["usage"]["prompt_tokens"] == 4096
