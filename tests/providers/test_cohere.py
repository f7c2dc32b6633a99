"""Cohere."""

import json

import numpy as np
import pytest

from app.domain import Call
from app.errors import BrokenContract, CredentialsRefused, Throttled
from app.providers.base import Incoming
from tests.providers.contract import ProviderContract, soon, wire_of
from tests.providers.fakes.cohere import CohereFake

CALL = Call("embed-v4.0", ["hello", "goodbye"], 3)


class TestCohere(ProviderContract):
    kind = "cohere"
    variants = [{}, {"encoding": "float"}]
    salts = {None: "search_document", "query": "search_query", "document": "search_document"}

    def new_fake(self):
        return CohereFake()

    def test_input_types_of_the_settings_are_sent(self, fake):
        for input_type in ("classification", "clustering"):
            provider = self.provider(fake, input_type=input_type)
            provider.embed(self.call(["x"]), soon())
            assert fake.calls[-1].body["input_type"] == input_type


def test_documented_request():
    """docs.cohere.com/reference/embed, "Texts"; "truncate" is our default."""
    out = wire_of(kind="cohere", api_key="k", encoding="float").build(CALL)
    assert json.loads(out.body) == {
        "model": "embed-v4.0",
        "texts": ["hello", "goodbye"],
        "input_type": "search_document",
        "embedding_types": ["float"],
        "truncate": "NONE",
    }
    assert (out.path, out.headers) == ("/v2/embed", {"Authorization": "Bearer k"})


def test_documented_response():
    """docs.cohere.com/reference/embed, "Response", its vectors cut short."""
    values = [[0.016296387, -0.008354187, -0.04699707], [0.007247925, 0.014198303, 0.0]]
    body = {
        "id": "da6e531f-54c5-4a73-bf92-f60566d8d753",
        "embeddings": {"float": values},
        "texts": ["hello", "goodbye"],
        "meta": {
            "api_version": {"version": "2", "is_experimental": True},
            "billed_units": {"input_tokens": 2},
            "warnings": ["You are using an experimental version"],
        },
        "response_type": "embeddings_by_type",
    }
    wire = wire_of(kind="cohere")
    vectors = wire.parse(Incoming(200, {}, json.dumps(body).encode()), CALL)
    assert vectors.rows == [np.array(v, "<f4").tobytes() for v in values]
    assert sum(vectors.tokens) == 2


def test_only_v4_is_sent_dimensions_unless_configured():
    wire = wire_of(kind="cohere")
    assert wire.limits("embed-v4.0").dimensions
    assert not wire.limits("embed-english-v3.0").dimensions
    assert not wire.limits("embed-multilingual-light-v3.0").dimensions
    assert wire_of(kind="cohere", send_dimensions=True).limits("embed-english-v3.0").dimensions


def test_missing_embedding_type_is_a_broken_contract():
    with pytest.raises(BrokenContract, match="type"):
        wire_of(kind="cohere").parse(Incoming(200, {}, b'{"embeddings": {"int8": [[1]]}}'), CALL)


@pytest.mark.parametrize("meta", [None, {}, {"billed_units": None}, {"billed_units": {}}])
def test_tokens_without_billed_units_are_estimated(meta):
    body = {"embeddings": {"float": [[1], [2]]}, "meta": meta}
    call = Call("m", ["a", "b"], 1)
    wire = wire_of(kind="cohere")
    assert wire.parse(Incoming(200, {}, json.dumps(body).encode()), call).estimated


def test_errors_of_cohere_are_classified():
    """docs.cohere.com/reference/errors, 498 and 429."""
    wire = wire_of(kind="cohere")
    assert isinstance(wire.refuse(Incoming(498, {}, b'{"message": "x"}'), []), CredentialsRefused)
    trial = b'{"message": "You are using a Trial key, which is limited to 1000 API calls / month"}'
    monthly = wire.refuse(Incoming(429, {}, trial), [])
    assert isinstance(monthly, Throttled)
    assert monthly.retry_after == 3600
    minute = wire.refuse(Incoming(429, {}, b'{"message": "limited to 40 calls / minute"}'), [])
    assert minute.retry_after is None
