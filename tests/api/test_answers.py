"""Responses equal OpenAI's byte for byte; each error has its status, code and headers."""

import base64
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse, run_wsgi_app
from werkzeug.wrappers import Request

from app import errors
from app.api.answers import body, embedding_response, error_response
from app.domain import Outcome, Vectors


def outcome(rows, tokens=None, **options):
    rows = [np.array(row, "<f4").tobytes() for row in rows]
    return Outcome(Vectors(rows, tokens or [1] * len(rows)), **options)


def test_floats_byte_for_byte():
    got = b"".join(body(outcome([[0.1, -1], [2, 3e-9]], [4, 5]), "text-embedding-3-small", "float"))
    assert got == (
        b'{"object":"list","data":['
        b'{"object":"embedding","index":0,"embedding":[0.1,-1.0]},'
        b'{"object":"embedding","index":1,"embedding":[2.0,3e-9]}'
        b'],"model":"text-embedding-3-small",'
        b'"usage":{"prompt_tokens":9,"total_tokens":9}}'
    )


def test_base64_byte_for_byte():
    got = b"".join(body(outcome([[1, -2]]), 'a "model"/ü', "base64"))
    assert got == (
        b'{"object":"list","data":['
        b'{"object":"embedding","index":0,"embedding":"AACAPwAAAMA="}'
        b'],"model":"a \\"model\\"/\xc3\xbc","usage":{"prompt_tokens":1,"total_tokens":1}}'
    )


rows = st.lists(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3),
    min_size=1,
    max_size=200,
)


@settings(max_examples=30)
@given(rows, st.text())
def test_body_has_all_rows_in_both_encodings(rows, model):
    given = outcome(rows)
    floats = json.loads(b"".join(body(given, model, "float")))
    packed = json.loads(b"".join(body(given, model.encode("utf-8", "replace").decode(), "base64")))
    assert list(floats) == ["object", "data", "model", "usage"]
    assert [entry["index"] for entry in floats["data"]] == list(range(len(rows)))
    assert floats["model"] == model
    for entry, other, row in zip(floats["data"], packed["data"], given.vectors.rows, strict=True):
        assert np.array(entry["embedding"], "<f4").tobytes() == row
        assert base64.b64decode(other["embedding"], validate=True) == row


@pytest.mark.parametrize("number", [63, 64, 65, 128, 129])
def test_pieces_join_to_valid_json(number):
    answer = json.loads(b"".join(body(outcome([[n + 1] for n in range(number)]), "m", "float")))
    assert [e["embedding"][0] for e in answer["data"]] == [n + 1 for n in range(number)]
    assert answer["usage"] == {"prompt_tokens": number, "total_tokens": number}


def sent(response):
    """The response as a client receives it."""
    return TestResponse(*run_wsgi_app(response, {}), request=Request({}))


def test_response_headers_name_cache_provider_and_attempts():
    answered = outcome(
        [[1]],
        [3],
        provider="a,b",
        attempts=2,
        cache="partial",
        cached_tokens=7,
        upstream_seconds=0.1234,
        queue_seconds=0.05,
    )
    response = sent(embedding_response(answered, "m", "float", lambda: 0.25))
    assert (response.status_code, response.content_type) == (200, "application/json")
    assert response.headers["x-proxy-cache"] == "partial"
    assert response.headers["x-proxy-cached-tokens"] == "7"
    assert response.headers["x-proxy-provider"] == "a,b"
    assert response.headers["x-proxy-attempts"] == "2"
    assert response.headers["Server-Timing"] == (
        "queue;dur=50.00, upstream;dur=123.40, total;dur=250.00"
    )
    assert response.headers["Content-Length"] == str(len(response.data))
    assert "x-proxy-usage" not in response.headers


def test_estimated_usage_has_a_header():
    vectors = Vectors([b"\x00\x00\x80\x3f"], [1], estimated=True)
    response = sent(embedding_response(Outcome(vectors), "m", "float", lambda: 1))
    assert response.headers["x-proxy-usage"] == "estimated"


#: Each error class: status, code, type, x-should-retry. Codes as /openapi.json lists them.
TABLE = {
    errors.InternalError: (500, "internal_error", "server_error", None),
    errors.BadRequest: (400, None, "invalid_request_error", None),
    errors.Unauthorized: (401, "invalid_api_key", "invalid_request_error", None),
    errors.ModelNotAllowed: (403, "model_not_allowed", "invalid_request_error", None),
    errors.ServiceTierNotAllowed: (
        403,
        "service_tier_not_allowed",
        "invalid_request_error",
        None,
    ),
    errors.AdminOnly: (403, "admin_required", "invalid_request_error", None),
    errors.ModelNotFound: (404, "model_not_found", "invalid_request_error", None),
    errors.NotFound: (404, "not_found", "invalid_request_error", None),
    errors.MethodNotAllowed: (405, "method_not_allowed", "invalid_request_error", None),
    errors.BodyTooLarge: (413, "request_too_large", "invalid_request_error", None),
    errors.UnsupportedMediaType: (415, "unsupported_media_type", "invalid_request_error", None),
    errors.ClientClosedRequest: (499, "client_closed_request", "invalid_request_error", "false"),
    errors.RateLimited: (429, "rate_limit_exceeded", "requests", None),
    errors.UpstreamFailed: (502, "upstream_error", "server_error", None),
    errors.NoProviderAvailable: (503, "no_provider_available", "server_error", None),
    errors.Overloaded: (503, "overloaded", "server_error", None),
    errors.DeadlineExceeded: (504, "timeout", "timeout", "false"),
}


def kinds(root):
    """Return all subclasses of a class, recursively."""
    return {kind for child in root.__subclasses__() for kind in {child, *kinds(child)}}


def test_no_error_has_status_409():
    assert kinds(errors.ClientError) >= TABLE.keys()
    assert 409 not in {kind.status for kind in kinds(errors.ClientError)}


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)
def test_each_error_has_its_status_code_and_body(kind):
    status, code, type_, should_retry = TABLE[kind]
    response = error_response(kind("What is wrong."))
    assert response.status_code == status
    assert response.content_type == "application/json"
    assert response.json == {
        "error": {"message": "What is wrong.", "type": type_, "param": None, "code": code}
    }
    assert response.headers.get("x-should-retry") == should_retry
    assert ("WWW-Authenticate" in response.headers) is (status == 401)
    assert "Retry-After" not in response.headers


def test_an_error_names_the_parameter():
    response = error_response(errors.BadRequest("No.", param="input"))
    assert response.json["error"]["param"] == "input"


@pytest.mark.parametrize(
    ("seconds", "header"),
    [(0, "1"), (0.01, "1"), (1, "1"), (1.01, "2"), (19.5, "20"), (60, "60"), (3600.0, "3600")],
)
def test_retry_after_is_whole_seconds_rounded_up_and_never_zero(seconds, header):
    response = error_response(errors.RateLimited("Later.", retry_after=seconds))
    assert response.headers["Retry-After"] == header


@pytest.mark.parametrize(("said", "header"), [(True, "true"), (False, "false")])
def test_should_retry_is_sent_as_header(said, header):
    response = error_response(errors.UpstreamFailed("No.", should_retry=said))
    assert response.headers["x-should-retry"] == header
