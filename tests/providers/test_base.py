"""Code shared by wire formats: errors, waits and rows."""

import json
import time
from email.utils import formatdate

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import Call
from app.errors import (
    BrokenContract,
    CredentialsRefused,
    NotServed,
    ProviderError,
    ProviderUnavailable,
    Rejected,
    Throttled,
)
from app.providers.base import Incoming
from app.providers.bodies import guard, in_order, row_of
from app.providers.refusals import clean, message_of, retry_after
from tests.providers.contract import wire_of


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "soon, perhaps"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "x"}, None),
        # RFC 9110, 10.2.3, by the clock of the provider
        (
            {
                "retry-after": "Fri, 31 Dec 1999 23:59:59 GMT",
                "date": "Fri, 31 Dec 1999 23:58:59 GMT",
            },
            60,
        ),
        (
            {
                "retry-after": "Fri, 31 Dec 1999 23:58:59 GMT",
                "date": "Fri, 31 Dec 1999 23:59:59 GMT",
            },
            0,
        ),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0),
    ],
)
def test_wait_is_read_from_headers(headers, seconds):
    assert retry_after(headers) == seconds


def test_date_without_server_date_is_compared_with_the_local_clock():
    wait = retry_after({"retry-after": formatdate(time.time() + 90, usegmt=True)})
    assert 60 < wait <= 90


@given(st.text(max_size=30))
def test_any_header_is_a_wait_or_none(text):
    wait = retry_after({"retry-after": text})
    assert wait is None or wait >= 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "a"}}, "a"),
        ({"error": "a"}, "a"),
        ({"message": "a"}, "a"),
        ({"detail": "a"}, "a"),
        ([{"error": {"message": "a"}}], "a"),
        ({"detail": [{"loc": ["body", "user"], "msg": "Extra inputs"}]}, "body.user: Extra inputs"),
        ({"object": "error", "message": {"detail": [{"msg": "a"}]}}, "a"),
        ({"error_code": "BAD_REQUEST", "message": "a"}, "a"),
        ({"errors": 1}, ""),
        ([], ""),
        (None, ""),
    ],
)
def test_message_of_an_error_is_found(body, message):
    assert message_of(json.dumps(body).encode()) == message


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[" * 100_000])
def test_error_without_message_has_none(body):
    assert message_of(body) == ""


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abc123def456",
        "Bearer abc.def-ghi",
        "https://internal.example/v1?key=1",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.c2ln",
        "AIzaSyA1234567890abcdefghijklmn",
        "jina_0123456789abcdef",
        "my-own-secret",
    ],
)
def test_secrets_are_removed_from_a_message(secret):
    said = clean(f"Key {secret} is\n wrong for x", ["my-own-secret"])
    assert secret not in said
    assert said.startswith("Key [redacted]")
    assert said.endswith(" is wrong for x")


def test_long_message_is_cut():
    assert len(clean("x " * 1000, [])) == 501


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Rejected),
        (413, Rejected),
        (422, Rejected),
        (401, CredentialsRefused),
        (402, CredentialsRefused),
        (403, CredentialsRefused),
        (429, Throttled),
        *((status, ProviderUnavailable) for status in (408, 409, 424, 499, 500, 503, 520, 529)),
        *((status, NotServed) for status in (404, 405, 410)),
        *((status, BrokenContract) for status in (204, 302, 418)),
    ],
)
def test_status_is_classified(status, error):
    found = wire_of(kind="tei").refuse(Incoming(status, {}, b""), [])
    assert type(found) is error
    assert found.message


@given(st.binary(max_size=60), st.integers(201, 599))
def test_any_error_body_is_classified(body, status):
    for kind in ("openai", "cohere", "ollama"):
        assert isinstance(wire_of(kind=kind).refuse(Incoming(status, {}, body), []), ProviderError)


@pytest.mark.parametrize("raw", [b'"AAAA', b'"!!!!"', b"[true]", b"{}", b"null", b""])
def test_invalid_row_is_a_broken_contract(raw):
    with pytest.raises(BrokenContract):
        row_of(msgspec.Raw(raw))


@pytest.mark.parametrize("indexes", [[0, 0], [0, 2], [-1, 0], [0], [0, 1, 2]])
def test_wrong_indexes_are_a_broken_contract(indexes):
    with pytest.raises(BrokenContract):
        in_order([(index, b"") for index in indexes], 2)


def test_guard_checks_the_number_of_rows():
    call = Call("m", ["abcd", "abcdefgh"], 1)
    rows = [b"\0\0\x80\x3f"] * 2
    assert guard(rows, call, 9).tokens == [3, 6]
    assert guard(rows, call, None).tokens == [1, 2]
