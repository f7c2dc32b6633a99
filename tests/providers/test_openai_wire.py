"""OpenAI's wire format: the bytes of requests, and accepted answers."""

import base64
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.config import ProviderSettings
from app.domain import Call
from app.errors import BrokenContract
from app.providers.base import Incoming
from app.providers.kinds.openai import make


def wire(**options):
    key = options.pop("api_key", "sk-key")
    return make(ProviderSettings("p", "openai", "https://host/v1", api_key=key, options=options))


def sent(call, **options):
    return json.loads(wire(**options).build(call).body)


def call(number=2, width=2, **fields):
    return Call("model", [f"text {n}" for n in range(number)], width, **fields)


def packed(*values):
    return base64.b64encode(np.array(values, "<f4").tobytes()).decode()


def answer(rows, **others):
    """Return a good answer with these embeddings, in order."""
    data = [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)]
    usage = {"prompt_tokens": 7, "total_tokens": 7}
    return {"object": "list", "data": data, "model": "m", "usage": usage, **others}


def parse(body, asked=None):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return wire().parse(Incoming(200, {}, body), asked or call())


def values(vectors):
    return [np.frombuffer(row, "<f4").tolist() for row in vectors.rows]


def test_escaped_base64_is_read():
    row = np.array([-1.9921875, 2], "<f4")
    assert "/" in packed(*row)
    body = json.dumps(answer([packed(*row), packed(1, 2)])).replace("/", "\\/")
    assert values(parse(body.encode())) == [row.tolist(), [1, 2]]


def test_only_known_fields_and_no_nulls_are_sent():
    assert sent(call()) == {
        "model": "model",
        "input": ["text 0", "text 1"],
        "encoding_format": "base64",
    }


def test_all_fields_are_sent():
    asked = call(1, 256, dimensions=256, user="u", input_type="query", passed={"task": {"a": [1]}})
    assert sent(asked) == {
        "model": "model",
        "input": ["text 0"],
        "encoding_format": "base64",
        "dimensions": 256,
        "user": "u",
        "task": {"a": [1]},
    }  # and no input_type, which OpenAI does not have


@pytest.mark.parametrize(
    ("encoding", "fields"),
    [
        ("base64", {"encoding_format": "base64"}),
        ("float", {"encoding_format": "float"}),
        ("omit", {}),
    ],
)
def test_encoding_is_a_setting(encoding, fields):
    assert sent(call(1), encoding=encoding) == {"model": "model", "input": ["text 0"], **fields}


def test_tokens_and_raw_utf8_are_sent():
    assert sent(Call("m", [[1, 2], [3]], 2))["input"] == [[1, 2], [3]]
    assert "日本\U0001f600".encode() in wire().build(Call("m", ["日本\U0001f600"], 2)).body


def test_url_and_authorization():
    outgoing = wire().build(call())
    assert outgoing.path == "/embeddings"
    assert outgoing.headers == {"Authorization": "Bearer sk-key"}
    assert wire(api_key=None).build(call()).headers == {}


def test_capabilities():
    takes = wire().capabilities
    assert (takes.max_inputs, takes.max_tokens) == (2048, 300_000)
    assert (takes.dimensions, takes.tokens, takes.user) == (True, True, False)
    takes = wire(send_dimensions=False, send_user=True).capabilities
    assert (takes.dimensions, takes.user) == (False, True)


def test_both_encodings_are_read_for_any_request():
    floats = parse(answer([[1.0, 2], [0.5, -3e-9]]))
    compact = parse(answer([packed(1, 2), packed(0.5, -3e-9)]))
    mixed = parse(answer([packed(1, 2), [0.5, -3e-9]]))
    assert values(floats) == values(compact) == values(mixed)
    assert sum(floats.tokens) == 7
    assert not floats.estimated


rows = st.lists(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=2)
    .filter(any)
    .map(lambda row: [float(np.float32(v)) for v in row]),
    min_size=1,
    max_size=6,
)


@settings(max_examples=50)
@given(rows, st.booleans(), st.randoms(use_true_random=False))
def test_rows_are_sorted_by_index(rows, compact, random):
    body = answer([packed(*row) if compact else row for row in rows])
    random.shuffle(body["data"])
    vectors = parse(body, call(len(rows)))
    assert list(vectors.rows) == [np.array(row, "<f4").tobytes() for row in rows]
    assert sum(vectors.tokens) == 7


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 5, "total_tokens": 9}, 5),
        ({"total_tokens": 9}, 9),
        ({"prompt_tokens": None, "total_tokens": 9}, 9),
        ({"prompt_tokens": 0, "total_tokens": 0}, 0),
        ({"prompt_tokens": 4, "completion_tokens": 1, "prompt_tokens_details": {}}, 4),
    ],
)
def test_count_of_the_provider_is_used(usage, tokens):
    vectors = parse(answer([[1, 2], [3, 4]], usage=usage))
    assert sum(vectors.tokens) == tokens
    assert not vectors.estimated


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -1}, {"total_tokens": None}])
def test_missing_count_is_marked_as_estimated(usage):
    vectors = parse(answer([[1, 2], [3, 4]], usage=usage))
    assert vectors.estimated
    assert all(count > 0 for count in vectors.tokens)


def test_missing_usage_is_estimated():
    body = answer([[1, 2], [3, 4]])
    del body["usage"]
    assert parse(body).estimated


def test_any_width_is_accepted_without_dimensions():
    assert values(parse(answer([[1, 2, 3]] * 2), call(2, None))) == [[1, 2, 3]] * 2


WRONG_VECTORS = {
    "nothing": b"",
    "no JSON": b"soon",
    "HTML": b"<html></html>",
    "no UTF-8": b'{"data": "\xff"}',
    "nested too deeply": b'{"data": ' + b"[" * 200_000,
    "a list": [],
    "null": b"null",
    "an error": {"error": {"message": "overloaded"}},
    "no data": {"usage": {}},
    "null for data": answer([], data=None),
    "an object for data": answer([], data={"0": 1}),
    "no vectors": answer([]),
    "one too few": answer([[1, 2]]),
    "one too many": answer([[1, 2]] * 3),
    "too narrow": answer([[1, 2], [1]]),
    "too wide": answer([[1, 2], [1, 2, 3]]),
    "all too wide": answer([[1, 2, 3]] * 2),
    "too narrow in base64": answer([packed(1, 2), packed(1)]),
    "half a float in base64": answer([packed(1, 2), base64.b64encode(b"123456").decode()]),
    "no base64": answer([packed(1, 2), "!!!!"]),
    "base64 cut off": answer([packed(1, 2), packed(1, 2)[:-1]]),
    "an empty text": answer([packed(1, 2), ""]),
    "an empty list": answer([[], []]),
    "zeros": answer([[1, 2], [0, 0]]),
    "zeros in base64": answer([packed(1, 2), packed(0, 0)]),
    "NaN in base64": answer([packed(1, 2), packed(1, float("nan"))]),
    "infinity in base64": answer([packed(1, 2), packed(float("-inf"), 1)]),
    "NaN": json.dumps(answer([[1, 2], [1, float("nan")]])).encode(),
    "more than a float32": answer([[1, 2], [1e39, 1]]),
    "more than a float64": json.dumps(answer([[1, 2], [7, 1]])).replace("7,", "1e999,").encode(),
    "null for a value": answer([[1, 2], [None, 1]]),
    "text for a value": answer([[1, 2], ["1", 2]]),
    "null for a vector": answer([[1, 2], None]),
    "an object for a vector": answer([[1, 2], {"float": [1, 2]}]),
    "a number for a vector": answer([[1, 2], 5]),
    "nested vectors": answer([[1, 2], [[1, 2]]]),
    "an index twice": answer([], data=[{"index": 0, "embedding": [1, 2]}] * 2),
    "no index": answer([], data=[{"embedding": [1, 2]}] * 2),
    "index null": answer([], data=[{"index": None, "embedding": [1, 2]}] * 2),
    "index as text": answer([], data=[{"index": str(i), "embedding": [1, 2]} for i in (0, 1)]),
    "index out of range": answer([], data=[{"index": i, "embedding": [1, 2]} for i in (1, 2)]),
    "index below zero": answer([], data=[{"index": i, "embedding": [1, 2]} for i in (-1, 0)]),
    "no embedding": answer([], data=[{"index": i} for i in (0, 1)]),
    "two documents": json.dumps(answer([[1, 2], [3, 4]])).encode() * 2,
    "cut off": json.dumps(answer([[1, 2], [3, 4]])).encode()[:-10],
}


@pytest.mark.parametrize("lie", WRONG_VECTORS)
def test_wrong_answer_is_a_broken_contract_without_its_text(lie):
    with pytest.raises(BrokenContract) as caught:
        parse(WRONG_VECTORS[lie])
    assert "overloaded" not in caught.value.message
    assert len(caught.value.message) < 120


@given(st.binary())
def test_any_bytes_are_vectors_or_a_broken_contract(body):
    with pytest.raises(BrokenContract):
        parse(body)
