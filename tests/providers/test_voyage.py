"""Voyage AI."""

import json

import numpy as np

from app.domain import Call
from app.providers.base import Incoming
from tests.providers.contract import ProviderContract, wire_of
from tests.providers.fakes.openai import OpenAIFake, Spec
from tests.support.vectors import encode

# docs.voyageai.com/reference/embeddings-api and mongodb.com/docs/api/doc/atlas-embedding-…
SPEC = Spec(
    fields=frozenset({"output_dimension"}),
    values={
        "input_type": ("query", "document"),
        "truncation": (True, False),
        "output_dtype": ("float",),
        "encoding_format": ("base64",),
    },
    encodings=("base64",),
    dimensions_field="output_dimension",
    tokens=False,
    limit=1000,
    salts=("input_type",),
    usage=("total_tokens",),
    error="detail",
)


class TestVoyage(ProviderContract):
    kind = "voyage"
    variants = [{}, {"encoding": "omit"}, {"truncation": True}]
    salts = {
        None: "",
        "query": '{"input_type": "query"}',
        "document": '{"input_type": "document"}',
    }

    def new_fake(self):
        return OpenAIFake(SPEC)


def test_documented_request_and_response():
    """docs.voyageai.com/reference/embeddings-api; its vectors cut short."""
    call = Call("voyage-3.5", ["Sample text 1"], 3, input_type="document", dimensions=256)
    wire = wire_of(kind="voyage", api_key="k", encoding="omit")
    out = wire.build(call)
    assert json.loads(out.body) == {
        "input": ["Sample text 1"],
        "model": "voyage-3.5",
        "input_type": "document",
        "output_dimension": 256,
        "truncation": False,
    }
    assert (wire.base_url, out.path) == ("https://api.voyageai.com/v1", "/embeddings")
    values = [0.0038915484, 0.010964915, -0.035594109]
    body = {
        "object": "list",
        "data": [{"object": "embedding", "embedding": values, "index": 0}],
        "model": "voyage-3.5",
        "usage": {"total_tokens": 10},
    }
    vectors = wire.parse(Incoming(200, {}, json.dumps(body).encode()), call)
    assert vectors.rows == [np.array(values, "<f4").tobytes()]
    assert vectors.tokens == [10]
    body["data"][0]["embedding"] = encode(np.array(values))
    assert wire.parse(Incoming(200, {}, json.dumps(body).encode()), call).rows == vectors.rows


def test_text_is_not_cut_unless_requested():
    call = Call("voyage-4", ["x"], 3, passed={"truncation": True})
    assert json.loads(wire_of(kind="voyage").build(call).body)["truncation"] is True


def test_max_tokens_by_model():
    """docs.voyageai.com/docs/embeddings: 1M for lite, 320K for 4, 3.5 and 2, 120K for the rest."""
    wire = wire_of(kind="voyage")
    limits = {
        "voyage-3.5-lite": 1_000_000,
        "voyage-4-lite": 1_000_000,
        "voyage-4": 320_000,
        "voyage-3.5": 320_000,
        "voyage-2": 320_000,
        "voyage-4-large": 120_000,
        "voyage-code-3": 120_000,
        "voyage-law-2": 120_000,
    }
    assert {model: wire.limits(model).max_tokens for model in limits} == limits
