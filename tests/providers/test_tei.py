"""Text Embeddings Inference, by its own API and by its OpenAI API."""

import json

import numpy as np
import pytest

from app.domain import Call
from app.errors import ProviderUnavailable, Rejected, Throttled
from app.providers.base import Incoming
from tests.providers.contract import ProviderContract, wire_of
from tests.providers.fakes.openai import OpenAIFake, Spec
from tests.providers.fakes.tei import TeiFake

CALL = Call("x", ["What is Deep Learning?"], 3)


class TestNative(ProviderContract):
    kind = "tei"
    tokens = True
    settings = {"prompts": {"query": "query", "document": "passage"}}
    variants = [{}, {"truncate": True, "normalize": True}]
    salts = {None: "", "query": "query", "document": "passage"}

    def new_fake(self):
        return TeiFake()


class TestWithoutPrompts(ProviderContract):
    kind = "tei"
    tokens = True

    def new_fake(self):
        return TeiFake()


class TestOpenAIApi(ProviderContract):
    kind = "tei"
    tokens = True
    settings = {"api": "openai"}

    def new_fake(self):
        return OpenAIFake(Spec(prefix="", path="/v1/embeddings", limit=32, error="tei"))


def test_documented_request_and_response():
    """github.com/huggingface/text-embeddings-inference, README, "Get Started"."""
    wire = wire_of(kind="tei")
    out = wire.build(CALL)
    assert json.loads(out.body) == {
        "inputs": ["What is Deep Learning?"],
        "truncate": False,
        "normalize": True,
    }
    assert (wire.base_url, out.path, out.headers) == ("http://127.0.0.1:8080", "/embed", {})
    body = b"[[0.038483415, -0.00076982786, -0.020039458]]"
    vectors = wire.parse(Incoming(200, {"x-compute-tokens": "7"}, body), CALL)
    assert vectors.rows == [
        np.array([0.038483415, -0.00076982786, -0.020039458], "<f4").tobytes(),
    ]
    assert vectors.tokens == [7]
    assert wire.parse(Incoming(200, {"x-compute-tokens": "many"}, body), CALL).estimated


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (422, {"error": "Tokenization error", "error_type": "Tokenizer"}, Rejected),
        (413, {"error": "Batch size error", "error_type": "Validation"}, Rejected),
        (429, {"error": "Model is overloaded", "error_type": "Overloaded"}, Throttled),
        (424, {"error": "Inference failed", "error_type": "Backend"}, ProviderUnavailable),
        (503, {"message": "unhealthy", "code": 503, "type": "Unhealthy"}, ProviderUnavailable),
        (422, {"message": "Batch size error", "code": 422, "type": "Validation"}, Rejected),
    ],
)
def test_documented_errors_are_classified(status, body, error):
    """Its openapi.json: flat, by either API."""
    found = wire_of(kind="tei").refuse(Incoming(status, {}, json.dumps(body).encode()), [])
    assert type(found) is error
    if error is Rejected:
        assert found.message in (body.get("error"), body.get("message"))
