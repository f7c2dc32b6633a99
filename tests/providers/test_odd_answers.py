"""For any answer, an adapter returns N vectors with valid counts or raises a `ProviderError`."""

import json
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.config import ProviderSettings
from app.domain import Call, Vectors
from app.errors import CredentialsRefused, NotServed, ProviderError, Rejected
from app.providers.base import Incoming
from app.providers.counts import MAX_TOKENS_OF_A_CALL
from app.providers.credentials.refreshing import Refreshing, sendable
from app.providers.refusals import MAX_WAIT_S
from app.providers.vertex import Vertex
from tests.providers.contract import wire_of
from tests.providers.http import provider_at, within
from tests.support.upstream import Upstream

_BEDROCK = {"kind": "bedrock", "region": "us-east-1", "api_key": "k"}
#: A wire format, a model, and its good answer to ``["a", "b"]`` (or ``["a"]``). All vectors are
#: ``[3, 4]``.
ROW = [3.0, 4.0]
BASE64 = "AABAQAAAgEA="
_DATA = [{"index": i, "embedding": ROW, "object": "embedding"} for i in range(2)]
_ENCODED = [{"index": i, "embedding": BASE64} for i in range(2)]
_USAGE = {"prompt_tokens": 5, "total_tokens": 5}


def vertex_wire():
    options = {"project": "p", "location": "global"}
    return Vertex(ProviderSettings("v", "vertex", options=options), lambda: "token")


GOLDEN = {
    "openai": (wire_of(kind="openai"), "m", {"data": _DATA, "usage": _USAGE}),
    "openai, base64": (wire_of(kind="openai"), "m", {"data": _ENCODED, "usage": _USAGE}),
    "voyage": (wire_of(kind="voyage"), "m", {"data": _ENCODED, "usage": {"total_tokens": 5}}),
    "cohere": (
        wire_of(kind="cohere"),
        "m",
        {
            "embeddings": {"float": [ROW, ROW]},
            "meta": {"billed_units": {"input_tokens": 5}},
        },
    ),
    "ollama": (wire_of(kind="ollama"), "m", {"embeddings": [ROW, ROW], "prompt_eval_count": 5}),
    "tei": (wire_of(kind="tei"), "m", [ROW, ROW]),
    "gemini": (
        wire_of(kind="gemini"),
        "m",
        {
            "embeddings": [{"values": ROW}, {"values": ROW}],
            "usageMetadata": {"promptTokenCount": 5},
        },
    ),
    "vertex": (
        vertex_wire(),
        "m",
        {
            "predictions": [
                {"embeddings": {"values": ROW, "statistics": {"token_count": n}}} for n in (2, 3)
            ]
        },
    ),
    "titan": (
        wire_of(**_BEDROCK),
        "amazon.titan-embed-text-v2:0",
        {"embedding": ROW, "inputTextTokenCount": 5},
    ),
    "bedrock, cohere": (
        wire_of(**_BEDROCK),
        "cohere.embed-english-v3",
        {"embeddings": {"float": [ROW, ROW]}},
    ),
    "nova": (
        wire_of(**_BEDROCK),
        "amazon.nova-2-multimodal-embeddings-v1:0",
        {"embeddings": [{"embedding": ROW, "embeddingType": "TEXT"}]},
    ),
}
ONE = {"titan", "nova"}
#: JSON texts, some of which json.dumps would not write.
ODD = [
    "null",
    "true",
    "-1",
    "5.0",
    "5.5",
    "0",
    "1e5",
    "1e999",
    "-1e999",
    "1e308",
    "1e-400",
    "NaN",
    "1" * 30,
    "1" * 400,
    "9" * 5000,
    str(2**62),
    str(2**63),
    str(2**64),
    '"5"',
    '""',
    '"\\ud800"',
    '"\\u0000"',
    '"é"',
    '"AAAA\\/A=="',
    "[]",
    "{}",
    "[[]]",
    '[{"a": []}]',
    "[" * 500 + "]" * 500,
    "[" * 5000 + "]" * 5000,
    '{"a":' * 300 + "1" + "}" * 300,
]
HEADERS = [
    "retry-after",
    "retry-after-ms",
    "date",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "anthropic-ratelimit-tokens-remaining",
    "anthropic-ratelimit-tokens-reset",
    "x-compute-tokens",
    "x-amzn-bedrock-input-token-count",
    "x-amzn-errortype",
]
VALUES = [
    "",
    "0",
    "-1",
    "1.2.3s",
    "1.2.3",
    "1e999",
    "9" * 5000,
    "9" * 400 + "s",
    "9" * 18,
    "٣",
    "1_000",
    "nan",
    "6m0s",
    "20ms",
    ".s",
    "..ms",
    "Fri, 31 Dec 99999 23:59:59 GMT",
    "Fri, 31 Dec 9999 23:59:59 -2359",
    "Mon, 01 Jan 0001 00:00:00 +2359",
    "Fri, 31 Dec 1 23:59:59 +9999999999",
    "Fri, 31 Dec 2026 23:59:59 GMT" + "0" * 5000,
    "31, 31, 31",
    ", " * 100,
    "ThrottlingException:http://a",
    "a#b#ValidationException",
]


class Literal(str):
    """A JSON text."""


def write(found):
    if isinstance(found, Literal):
        return str(found)
    if isinstance(found, dict):
        return "{" + ", ".join(f"{json.dumps(k)}: {write(v)}" for k, v in found.items()) + "}"
    if isinstance(found, list):
        return "[" + ", ".join(map(write, found)) + "]"
    return json.dumps(found)


def spoiled(found, rng, odd):
    """Return the answer with one node replaced by the text ``odd``."""
    if not isinstance(found, dict | list) or not found or rng.random() < 0.15:
        return Literal(odd)
    if isinstance(found, dict):
        name = rng.choice(sorted(found))
        return {**found, name: spoiled(found[name], rng, odd)}
    i = rng.randrange(len(found))
    return [*found[:i], spoiled(found[i], rng, odd), *found[i + 1 :]]


odd = st.sampled_from(ODD) | st.text(max_size=20).map(json.dumps) | st.floats().map(repr)
headers = st.dictionaries(
    st.sampled_from(HEADERS), st.sampled_from(VALUES) | st.text(max_size=20), max_size=4
)
bodies = st.binary(max_size=40) | odd.map(str.encode)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(sorted(GOLDEN)), st.randoms(use_true_random=False), odd, headers)
def test_an_answer_is_n_vectors_with_counts_or_a_provider_error(name, rng, odd, headers):
    wire, model, golden = GOLDEN[name]
    call = Call(model, ["a"] if name in ONE else ["a", "b"], 2, dimensions=2)
    body = write(spoiled(golden, rng, odd)).encode("utf-8", "surrogatepass")
    try:
        vectors = wire.parse(Incoming(200, headers, body), call)
    except ProviderError:
        return
    assert isinstance(vectors, Vectors)
    assert len(vectors.rows) == len(vectors.tokens) == len(call.items)
    assert all(type(tokens) is int and tokens >= 0 for tokens in vectors.tokens)
    assert sum(vectors.tokens) <= MAX_TOKENS_OF_A_CALL


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(GOLDEN)), bodies, headers)
def test_body_that_is_not_json_is_a_provider_error(name, body, headers):
    wire, model, _ = GOLDEN[name]
    with pytest.raises(ProviderError):
        wire.parse(Incoming(200, headers, body), Call(model, ["a"], 2))


#: Bodies of errors in the formats that adapters read.
REFUSALS = [
    {"error": {"code": "c", "message": "m", "status": "s"}},
    {"error": {"message": "m", "status": "s", "details": [{"reason": "r", "retryDelay": "1s"}]}},
    {"error": "m"},
    {"message": "m", "__type": "a#b"},
    {"detail": [{"loc": ["body", 1], "msg": "m"}]},
    {"object": "error", "message": {"detail": [{"msg": "m"}]}, "code": 1},
]
DELAYS = st.sampled_from(
    ['"1.2.3s"', '"' + "9" * 5000 + 's"', '"' + "9" * 400 + '.5s"', '"٣s"', '"-1s"', '"1e9s"']
)


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(sorted(GOLDEN)),
    st.integers(100, 999),
    st.sampled_from(REFUSALS),
    st.randoms(use_true_random=False),
    odd | DELAYS,
    headers,
    st.none() | bodies,
)
def test_error_is_a_provider_error_with_a_valid_wait(name, status, shape, rng, odd, headers, raw):
    wire, *_ = GOLDEN[name]
    body = write(spoiled(shape, rng, odd)).encode("utf-8", "surrogatepass") if raw is None else raw
    error = wire.refuse(Incoming(status, headers, body), ["k-0123456789abcdef"])
    assert isinstance(error, ProviderError)
    error.message.encode()
    wait = error.retry_after
    assert wait is None or 0 <= wait <= MAX_WAIT_S


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize(
    "passed",
    [{"task": "\ud800"}, {"title": ["\udfff"]}, {"n": 10**5000}],
    ids=["a surrogate", "one in a list", "an integer of 5000 digits"],
)
def test_unencodable_request_is_the_callers_fault(name, passed):
    wire, model, _ = GOLDEN[name]
    with pytest.raises(Rejected):
        wire.build(Call(model, ["a"], 2, passed=passed))
    with pytest.raises(Rejected):
        wire.build(Call(model, ["\ud800"], 2))


# Counts


def counted(name, written, headers=None):
    """Return the counts that are read if each is written like this."""
    wire, model, golden = GOLDEN[name]
    body = re.sub(r'((?:ount|okens)": )[0-9]+', lambda m: m[1] + written, json.dumps(golden))
    call = Call(model, ["a"] if name in ONE else ["a", "b"], 2)
    return wire.parse(Incoming(200, headers or {}, body.encode()), call)


COUNTING = sorted(set(GOLDEN) - {"tei", "bedrock, cohere", "nova"})


@pytest.mark.parametrize("name", COUNTING)
def test_a_count_written_as_a_float_is_a_count(name):
    for written in ("6.0", "6e0", "6"):
        vectors = counted(name, written)
        assert not vectors.estimated
        assert sum(vectors.tokens) == (12 if name == "vertex" else 6)


@pytest.mark.parametrize("name", COUNTING)
@pytest.mark.parametrize(
    "written",
    ["-1", "5.5e300", "1e999", "9" * 5000, str(2**62), "null", '"many"', "[]", "{}", "true"],
    ids=lambda written: written[:20],
)
def test_invalid_count_does_not_fail_the_answer(name, written):
    vectors = counted(name, written)
    assert vectors.estimated
    assert list(vectors.tokens) == [1] * len(vectors.rows)


@pytest.mark.parametrize(
    ("name", "header"),
    [("tei", "x-compute-tokens"), ("nova", "x-amzn-bedrock-input-token-count")],
)
def test_count_in_a_header_is_read(name, header):
    right = counted(name, "", {header: "6"})
    assert (sum(right.tokens), right.estimated) == (6, False)
    for value in ("", "-1", "9" * 4301, str(2**62), "٣", "6.5", "+6", "1_0"):
        assert counted(name, "", {header: value}).estimated


# Waits


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360),
        ("1h2m3.5s", 3723.5),
        ("20ms", 0.02),
        ("1d", 86_400),
        ("1.2.3s", None),
        ("soon", None),
        ("5", 5),  # Azure's
        ("9" * 400 + "s", None),
        ("٣s", None),
        ("", None),
    ],
)
def test_reset_of_a_limit_is_read(text, seconds):
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": text}
    error = wire_of(kind="openai").refuse(Incoming(429, headers, b""), [])
    assert error.retry_after == seconds


@example({"retry-after": "Fri, 31 Dec 99999 23:59:59 GMT"})
@example({"retry-after": "Fri, 31 Dec 1 23:59:59 +9999999999"})
@example({"retry-after": "1e300"})
@given(headers)
def test_wait_is_valid_or_none(headers):
    error = wire_of(kind="openai").refuse(Incoming(429, headers, b""), [])
    assert error.retry_after is None or 0 <= error.retry_after <= MAX_WAIT_S


# Bytes of the connection


@pytest.fixture(scope="module")
def upstream():
    with Upstream(2) as upstream:
        yield upstream


PIECES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 400 Bad\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 999 \r\n",
        b"HTTP/1.1 304 Not Modified\r\n",
        b"HTTP/1.0 200\r\n",
        b"HTTP/9.9 -1 \xff\r\n",
        b"Content-Length: 2\r\n",
        b"Content-Length: " + b"9" * 5000 + b"\r\n",
        b"Content-Length: \xb2\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Content-Encoding: deflate, gzip, gzip\r\n",
        b"Retry-After: Fri, 31 Dec 99999 23:59:59 GMT\r\n",
        b": \r\n",
        b" \r\n",
        b"\r\n",
        b"2\r\n{}\r\n0\r\n\r\n",
        b"-2\r\n{}\r\n",
        b"1_0\r\n",
        b"f" * 5000 + b"\r\n",
        b"{}",
        b"\x1f\x8b\x08",
        b"\x00",
        b"x" * 70_000,
    ]
)


@settings(max_examples=250, deadline=None)
@given(st.lists(PIECES | st.binary(max_size=20), max_size=6))
def test_transport_raises_a_provider_error_for_any_bytes(upstream, pieces):
    def answer(exchange):
        exchange.send(b"".join(pieces))
        exchange.last = True

    upstream.always(answer)
    with pytest.raises(ProviderError):
        provider_at(upstream).embed(Call("m", ["a"], 2), within(2))


@pytest.mark.parametrize("value", ["a\r\nX: b", "a\nb", "\x00", "\u0100", "\ud800"])
def test_invalid_request_header_is_a_provider_error(upstream, value):
    call = Call("m", ["a"], 2, headers={"traceparent": value})
    with pytest.raises(NotServed, match="cannot be called as it is configured"):
        provider_at(upstream).embed(call, within(2))


@pytest.mark.parametrize("token", ["a\nb", "a b", "", "\x00", "\u0100", None, 5])
def test_token_that_is_no_valid_header_is_refused_when_fetched(token):
    with pytest.raises(CredentialsRefused, match="that cannot be sent"):
        sendable(token)
    assert sendable("eyJ0.e-_~+/=") == "eyJ0.e-_~+/="


@pytest.mark.parametrize("expires", [float("nan"), float("-inf"), 0.0])
def test_credential_with_invalid_expiry_is_fetched_again(expires):
    given, now = iter([("a", expires), ("b", 1e9)]), [100.0]
    credential = Refreshing(lambda: next(given), clock=lambda: now[0], rng=lambda: 1.0)
    with pytest.raises(ProviderError):
        credential.get()
    now[0] += 1
    assert credential.get() == "b"


def test_each_caller_gets_its_own_complete_exception():
    def fetch():
        raise Rejected("no", param="input", too_large=True)

    credential = Refreshing(fetch, clock=lambda: 100.0)
    errors = []
    for _ in range(2):
        with pytest.raises(Rejected) as raised:
            credential.get()
        errors.append(raised.value)
    assert errors[0] is not errors[1]
    assert all((e.message, e.param, e.too_large) == ("no", "input", True) for e in errors)
