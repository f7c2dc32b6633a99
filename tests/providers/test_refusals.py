"""Errors of a provider are read in every format, with the wait that they ask for."""

import email.utils
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from app import errors
from app.config import ProviderSettings
from app.domain import Call
from app.providers.base import Incoming
from app.providers.bodies import guard, in_order
from app.providers.kinds.openai import make
from app.providers.refusals import message_of, retry_after

OPENAI = make(ProviderSettings("p", "openai", base_url="https://eu.internal.example/v1"))
SECRETS = ["k-0123456789abcdef", "eu.internal.example/v1", "eu.internal.example"]


def incoming(status, body=b"", **headers):
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Incoming(status, CaseInsensitiveDict(fields), body)


SHAPES = {
    "OpenAI": {"error": {"message": "WHY", "type": "t", "param": None, "code": None}},
    "Azure": {"error": {"code": "BadRequest", "message": "WHY", "innererror": {"code": "x"}}},
    "Cohere, Bedrock": {"message": "WHY"},
    "Cohere with an id": {"id": "1-2-3", "message": "WHY"},
    "Voyage, Jina": {"detail": "WHY"},
    "Gemini, Vertex": {"error": {"code": 400, "message": "WHY", "status": "INVALID_ARGUMENT"}},
    "Vertex, in a list": [{"error": {"code": 400, "message": "WHY", "details": [{"a": 1}]}}],
    "Mistral": {"object": "error", "message": "WHY", "type": "invalid", "code": 3210},
    "Mistral, nested": {"object": "error", "message": {"detail": [{"msg": "WHY"}]}},
    "FastAPI": {"detail": [{"type": "missing", "msg": "WHY"}, {"msg": "more"}]},
    "Ollama, TEI": {"error": "WHY", "error_type": "validation"},
    "TEI, OpenAI style": {"message": "WHY", "code": 422, "type": "Validation"},
    "Databricks": {"error_code": "BAD_REQUEST", "message": "WHY"},
    "LocalAI": {"error": {"code": 400, "message": "WHY", "type": ""}},
    "Baidu": {"error_code": 336003, "error_msg": "WHY"},
    "a list of texts": {"detail": ["WHY"]},
}

NOTHING = [
    b"",
    b"not JSON",
    b"<html>WHY</html>",
    b"\xff\xfe",
    b"[]",
    b"{}",
    b"null",
    b"5",
    b'{"error": {}}',
    b'{"error": {"message": 5}}',
    b'{"detail": []}',
    b'{"error": {"message": null}}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("shape", SHAPES)
def test_message_is_found_in_every_format(shape):
    assert message_of(json.dumps(SHAPES[shape]).encode()) == "WHY"


@pytest.mark.parametrize("body", NOTHING, ids=lambda body: repr(body[:30]))
def test_empty_message_is_no_message(body):
    assert message_of(body) == ""


@given(st.binary() | st.text().map(json.dumps).map(str.encode))
def test_any_body_gives_a_text(body):
    assert isinstance(message_of(body), str)


TABLE = {
    400: errors.Rejected,
    413: errors.Rejected,
    422: errors.Rejected,
    401: errors.CredentialsRefused,
    402: errors.CredentialsRefused,
    403: errors.CredentialsRefused,
    429: errors.Throttled,
    408: errors.ProviderUnavailable,
    409: errors.ProviderUnavailable,
    424: errors.ProviderUnavailable,
    500: errors.ProviderUnavailable,
    502: errors.ProviderUnavailable,
    503: errors.ProviderUnavailable,
    504: errors.ProviderUnavailable,
    529: errors.ProviderUnavailable,
    302: errors.BrokenContract,
    404: errors.NotServed,
    405: errors.NotServed,
    410: errors.NotServed,
    418: errors.BrokenContract,
}


@pytest.mark.parametrize("status", TABLE)
@pytest.mark.parametrize("shape", SHAPES)
def test_each_status_is_classified(status, shape):
    secret = f"key {SECRETS[0]} at {SECRETS[1]}"
    body = json.dumps(SHAPES[shape]).replace("WHY", secret).encode()
    error = OPENAI.refuse(incoming(status, body), SECRETS)
    assert type(error) is TABLE[status]
    assert not any(part in error.message for part in SECRETS)
    # Only a refusal of the input keeps the provider's message.
    assert ("[redacted]" in error.message) is (TABLE[status] is errors.Rejected)


def test_error_without_message_has_a_default_message():
    for body in NOTHING:
        error = OPENAI.refuse(incoming(400, body), [])
        assert error.message == "The provider refused the request as invalid."
        error = OPENAI.refuse(incoming(413, body), [])
        assert error.message == "The provider refused the request as too large."


def test_retry_after_is_kept_with_the_error():
    for status in (429, 500, 503):
        error = OPENAI.refuse(incoming(status, Retry_After="7"), [])
        assert error.retry_after == 7


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "20"}, 20.0),
        ({"retry-after": "0"}, 0.0),
        ({"RETRY-AFTER": "1.5"}, 1.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "20"}, 0.25),
        ({"Retry-After": "-5"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "nan"}, None),
        ({"retry-after-ms": "1e999"}, None),
        ({"Retry-After": "Thu, 99 Foo 2026 00:00:00 GMT"}, None),
    ],
)
def test_wait_is_read_from_headers(headers, seconds):
    assert retry_after(CaseInsensitiveDict(headers)) == seconds


@pytest.mark.parametrize(("ahead", "low", "high"), [(90, 60, 90), (-60, 0, 0), (0, 0, 1)])
def test_wait_as_a_date_is_read(ahead, low, high):
    date = email.utils.formatdate(time.time() + ahead, usegmt=True)
    found = retry_after(CaseInsensitiveDict({"Retry-After": date}))
    assert found is not None
    assert low <= found <= high


def test_index_restores_the_order():
    assert in_order([(2, "c"), (0, "a"), (1, "b")], 3) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [(0, "a")],
        [(0, "a"), (0, "b")],
        [(0, "a"), (2, "b")],
        [(-1, "a"), (0, "b")],
        [(0, "a"), (1, "b"), (2, "c")],
    ],
)
def test_invalid_order_is_a_broken_contract(rows):
    with pytest.raises(errors.BrokenContract):
        in_order(rows, 2)


def test_guard_checks_count_and_shares_or_estimates_tokens():
    call = Call("m", ["a", "bcd"], 1)
    rows = [b"\x00\x00\x80\x3f"] * 2
    counted = guard(rows, call, 8)
    assert (list(counted.tokens), counted.estimated) == ([2, 6], False)
    guessed = guard(rows, call, None)
    assert (list(guessed.tokens), guessed.estimated) == ([1, 1], True)
    with pytest.raises(errors.BrokenContract, match="answered 1 vectors for 2 inputs"):
        guard(rows[:1], call, 8)
    with pytest.raises(errors.BrokenContract, match="answered a vector of nothing but zeros"):
        guard([rows[0], bytes(4)], call, 8)
    with pytest.raises(errors.BrokenContract, match="2 wide instead of 1"):
        guard([rows[0], rows[0] * 2], call, 8)
