"""The newest OpenAI SDK for JavaScript on a current Node, against the real server.

`sdk.mjs` makes requests and prints the results, once for each stand; the tests check them.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.sdk_python import TEXTS
from tests.support import javascript, refusals, stalls
from tests.support.settings import KEY, NARROW_KEY
from tests.support.vectors import ROUNDING, decode, vector

HERE = Path(__file__).parent
STANDS = {"embedded": ("wordllama", 256, 64), "upstream": ("embed", 32, 8)}


@pytest.fixture(scope="module", autouse=True)
def sdk():
    version = javascript.install()
    assert int(version.split(".")[0]) >= 6


@pytest.fixture(scope="module", params=STANDS)
def stand(request):
    """A model, its width, and a narrower width."""
    return STANDS[request.param]


@pytest.fixture(scope="module")
def did(request, stand):
    """The results that `sdk.mjs` printed."""
    model, _, narrow = stand
    name = "default_proxy" if model == "wordllama" else "proxy"
    proxy = request.getfixturevalue(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEY", KEY)
        patch.setenv("NARROW_KEY", NARROW_KEY)
        patch.setenv("TEXTS", json.dumps(TEXTS))
        return javascript.run(HERE / "sdk.mjs", proxy.url, model, str(narrow))


def assert_close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=0, atol=ROUNDING)


def test_one_text_is_embedded(did, stand):
    model, width, _ = stand
    full = did["full"]
    assert (full["object"], full["model"]) == ("list", model)
    (entry,) = full["data"]
    assert (entry["object"], entry["index"], len(entry["embedding"])) == ("embedding", 0, width)
    assert full["usage"]["prompt_tokens"] == full["usage"]["total_tokens"] > 0


def test_default_encoding_equals_floats_and_base64(did, stand):
    assert np.shape(did["one"]) == (1, stand[1])  # not a quarter of it
    assert_close(did["one"], did["floats"])
    assert_close(did["one"][0], decode(did["base64"]))


def test_batch_keeps_its_order_in_both_encodings(did, stand):
    assert np.shape(did["batch"]) == (300, stand[1])
    assert len(np.unique(did["batch"], axis=0)) == 300
    assert_close(did["batch"], did["batchInFloats"])
    if stand[0] == "embed":
        assert_close(did["batch"], [vector(text, 32) for text in TEXTS])


def test_token_ids_are_embedded(did):
    assert_close(did["tokens"][0], did["tokenLists"][0])
    assert not np.allclose(*did["tokenLists"])


def test_dimensions_are_applied(did, stand):
    cut = np.array(did["one"][0][: stand[2]])
    assert_close(did["narrow"][0], cut / np.linalg.norm(cut))


def test_azure_client_is_served(did):
    assert_close(did["azure"], did["one"])


def test_cache_header_is_readable(did):
    assert (did["miss"]["x-proxy-cache"], did["hit"]["x-proxy-cache"]) == ("miss", "hit")
    assert did["miss"]["x-request-id"] != did["hit"]["x-request-id"]


def test_a_caller_can_insist_on_the_space_of_its_index(did):
    assert did["retrieved"]["space"] == did["space"]
    assert did["ofSpace"] == 1
    param = "x-proxy-space"
    refused = {"name": "APIError", "status": 412, "code": "space_changed", "param": param}
    assert did["otherSpace"] == refused


def test_models_are_listed(did, stand):
    assert stand[0] in did["models"]
    assert (did["retrieved"]["id"], did["retrieved"]["dimensions"]) == stand[:2]


@pytest.mark.parametrize(
    ("what", "name", "status", "code", "param"),
    [
        ("wrongKey", "AuthenticationError", 401, "invalid_api_key", None),
        ("emptyInput", "BadRequestError", 400, None, "input"),
        ("unknownField", "BadRequestError", 400, None, "cachin"),
        ("unknownModel", "NotFoundError", 404, "model_not_found", None),
    ],
)
def test_errors_have_classes_of_the_sdk(did, what, name, status, code, param):
    assert did[what] == {"name": name, "status": status, "code": code, "param": param}


def test_model_of_other_keys_is_a_permission_error(did, stand):
    if stand[0] == "embed":  # without settings there is one key, and it may use everything
        assert did["notAllowed"]["name"] == "PermissionDeniedError"
        assert did["notAllowed"]["code"] == "model_not_allowed"


@pytest.mark.parametrize(
    ("behaviour", "name", "status", "code"),
    [
        (refusals.status(429), "RateLimitError", 429, "rate_limit_exceeded"),
        (refusals.status(500), "InternalServerError", 502, "upstream_error"),
        (stalls.silence, "InternalServerError", 504, "timeout"),
    ],
    ids=["429", "500", "silence"],
)
def test_failures_of_providers_are_errors_of_the_sdk(
    proxy, upstream, fresh, monkeypatch, behaviour, name, status, code
):
    upstream.always(behaviour)
    monkeypatch.setenv("KEY", KEY)
    # No retry after the caller's deadline.
    timeout, retries = ("1", "2") if status == 504 else ("20", "0")
    error = javascript.run(HERE / "sdk_errors.mjs", proxy.url, fresh("embed"), timeout, retries)
    assert error == {"name": name, "status": status, "code": code}
    if status == 504:
        assert len(upstream.calls) == 1
