"""For any answer, an adapter returns N vectors with valid counts or raises a `ProviderError`."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.domain import Call, Vectors
from app.errors import ProviderError, Rejected
from app.providers.base import Incoming
from app.providers.bodies import MAX_TOKENS_OF_A_CALL
from app.providers.refusals import MAX_WAIT_S
from tests.providers.contract import wire_of
from tests.providers.golden import GOLDEN, ONE

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


@example({"retry-after": "Fri, 31 Dec 99999 23:59:59 GMT"})
@example({"retry-after": "Fri, 31 Dec 1 23:59:59 +9999999999"})
@example({"retry-after": "1e300"})
@given(headers)
def test_wait_is_valid_or_none(headers):
    error = wire_of(kind="openai").refuse(Incoming(429, headers, b""), [])
    assert error.retry_after is None or 0 <= error.retry_after <= MAX_WAIT_S
