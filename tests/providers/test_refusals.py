"""Errors of a provider are read in every format and passed on without secrets."""

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
from app.providers.openai import make
from app.providers.refusals import clean, message_of, retry_after

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


@pytest.mark.parametrize(
    ("message", "cleaned"),
    [
        ("Too long.", "Too long."),
        ("Key k-0123456789abcdef is bad.", "Key [redacted] is bad."),
        ("POST https://eu.internal.example/v1/embeddings failed", "POST [redacted] failed"),
        ("host eu.internal.example:443 is busy", "host [redacted]:443 is busy"),
        ("Incorrect key sk-proj-abcDEF123456.", "Incorrect key [redacted]"),
        ("Incorrect key sk-ab****************wxyz", "Incorrect key [redacted]"),
        ("sent Authorization: Bearer abc.def", "sent Authorization: [redacted]"),
        ("sent authorization: bearer abc.def now", "sent authorization: [redacted] now"),
        ("key AIzaSyA-0123456789abcdefghij_xyz here", "key [redacted] here"),
        ("jina_0123456789abc and pa-abcdef0123", "[redacted] and [redacted]"),
        ("nvapi-abcdef012345 hf_abcdefghij", "[redacted] [redacted]"),
        ("Invalid ya29.a0AfH6SMB-x_y.z token", "Invalid [redacted] token"),
        ("dapi0123456789abcdef0123456789abcdef-2 expired", "[redacted] expired"),
        ("ghp_0123456789abcdefABCD and gho_0123456789", "[redacted] and [redacted]"),
        ("github_pat_11ABCDEFG0_xyz is bad", "[redacted] is bad"),
        ("xai-0123456789abcdefghij is bad", "[redacted] is bad"),
        ("fw_3ZabcDEFghiJKLmnoPQR is bad", "[redacted] is bad"),
        ("tgp_v1_abcDEFghiJKLmnoPQRstu is bad", "[redacted] is bad"),
        ("ABSKQmVkcm9ja0FQSUtleS0xMjM0NTY= is bad", "[redacted] is bad"),
        ("dapi, fw_version and ghost-like", "dapi, fw_version and ghost-like"),
        ("see http://10.0.0.7:8080/health?key=1 now", "see [redacted] now"),
        ("sent Authorization: Basic dXNlcjpwYXNz", "sent Authorization: [redacted]"),
        ("basic dXNlcjpwYXNz is bad", "[redacted] is bad"),
        ("user:pass@db.corp:443 is busy", "[redacted] is busy"),
        ("dial tcp 10.2.3.4:8080: refused", "dial tcp [redacted]: refused"),
        ("internal.corp.example:443 is busy", "[redacted] is busy"),
        ("Key r8_abcdefghijk0123456789 is bad", "Key [redacted] is bad"),
        ("Key vck_abcdefghijklmnop is bad", "Key [redacted] is bad"),
        ("basic authentication failed", "basic authentication failed"),
        ("Basic Authentication failed", "Basic Authentication failed"),
        ("postgres://user:p/w@db/x is down", "[redacted]/x is down"),
        ("ratio 1.5:2 at 10:30, input[0].text:5", "ratio 1.5:2 at 10:30, input[0].text:5"),
        ("two\nlines\r\nand\ttabs", "two lines and tabs"),
        ("ask-me task-force risk-free", "ask-me task-force risk-free"),
        ("", ""),
    ],
)
def test_message_is_passed_on_without_secrets(message, cleaned):
    assert clean(message, SECRETS) == cleaned


def test_long_message_is_cut():
    assert clean("x" * 501, []) == "x" * 500 + "…"
    assert clean("x" * 500, []) == "x" * 500


def test_secret_at_the_cut_is_removed():
    assert "k-0123" not in clean("x" * 495 + SECRETS[0], SECRETS)


@pytest.mark.parametrize(
    "piece", ["eyJ-", "sk-a ", "https://", "Bearer ", "AIza", "a.", "a:", "a", "basic ", "1."]
)
def test_message_of_megabytes_is_read_quickly(piece):
    """A provider may quote an input; the time of the search must not grow quadratically."""
    before = time.process_time()
    assert len(clean(piece * (2**20 // len(piece)), SECRETS)) <= 501
    assert time.process_time() - before < 1


def test_secret_at_the_cut_of_a_very_long_message_is_removed():
    assert "k-0123" not in clean("https://" * 999 + SECRETS[0] + " and more" * 9, SECRETS)


@given(st.text(), st.text())
def test_secret_is_removed_at_any_position(before, after):
    shown = clean(f"{before}{SECRETS[0]}{after}", SECRETS)
    assert SECRETS[0] not in shown
    assert "\n" not in shown


def test_host_is_removed_in_any_case():
    """Host names have no case."""
    assert "example" not in clean("Host EU.Internal.Example is busy", SECRETS).lower()


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


@pytest.mark.parametrize(("ahead", "low", "high"), [(90, 85, 90), (-60, 0, 0), (0, 0, 1)])
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
