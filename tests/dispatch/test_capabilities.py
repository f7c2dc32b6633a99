"""A request is served only by a deployment that has all capabilities it needs."""

import time
from collections import Counter

import pytest

from app.domain import EmbeddingRequest
from app.errors import BadRequest
from app.tokens.tokenizers import Undecodable
from tests.dispatch.arrangements import Stub, dispatcher, vectors

IDS = [[1, 2, 3]]


class Opaque:
    """A tokenizer that decodes no ids."""

    def count(self, items):
        return [1] * len(items)

    def decode(self, tokens):
        raise Undecodable("token ids that are no text")


class Clear(Opaque):
    def decode(self, tokens):
        return " ".join(map(str, tokens))


def stub(**takes):
    return Stub(lambda call: vectors(call.items, call.dimensions or 1), **takes)


def heard(made, request, times=1):
    """Return the results of equal requests."""
    found = Counter()
    for _ in range(times):
        try:
            made.embed(request, time.monotonic() + 60)
            found["ok"] += 1
        except Exception as error:
            found[type(error).__name__] += 1
    return found


@pytest.mark.parametrize("tokenizer", [None, Opaque()])
def test_token_request_goes_to_a_deployment_that_takes_token_ids(tokenizer):
    """The other deployment would have to decode them, and cannot."""
    ids, text = stub(), stub(tokens=False)
    made = dispatcher({"a": ids, "b": text}, tokenizer)
    assert heard(made, EmbeddingRequest("m", IDS), 100) == {"ok": 100}
    assert not text.calls


def test_decodable_token_request_goes_to_any_deployment():
    ids, text = stub(), stub(tokens=False)
    made = dispatcher({"a": ids, "b": text}, Clear())
    assert heard(made, EmbeddingRequest("m", IDS), 100) == {"ok": 100}
    assert text.calls[0].items == ["1 2 3"]
    assert ids.calls[0].items == IDS


@pytest.mark.parametrize("tokenizer", [None, Opaque()])
def test_token_request_without_a_suitable_deployment_is_a_400(tokenizer):
    text = stub(tokens=False)
    assert heard(dispatcher({"a": text}, tokenizer), EmbeddingRequest("m", IDS)) == {
        "BadRequest": 1
    }
    assert not text.calls


def test_token_ids_with_dimensions_without_a_suitable_deployment_are_a_400():
    """One deployment takes token ids, only the other takes dimensions."""
    made = dispatcher({"a": stub(dimensions=False), "b": stub(tokens=False)})
    request = EmbeddingRequest("m", IDS, dimensions=2)
    assert heard(made, request) == {"BadRequest": 1}
    with pytest.raises(BadRequest) as told:
        made.embed(request, time.monotonic() + 60)
    assert told.value.param in ("input", "dimensions")


def test_token_ids_with_dimensions_go_to_a_deployment_that_takes_both():
    both = stub()
    made = dispatcher({"a": stub(dimensions=False), "b": stub(tokens=False), "c": both}, Opaque())
    assert heard(made, EmbeddingRequest("m", IDS, dimensions=2), 50) == {"ok": 50}
    assert len(both.calls) == 50
