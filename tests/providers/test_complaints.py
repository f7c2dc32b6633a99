"""Known faults of other gateways, tested at the adapters.

tests/e2e tests them with the whole proxy.
"""

import importlib
import json

import numpy as np
import pytest

from app.domain import Call
from app.errors import BrokenContract, CredentialsRefused, Rejected, Throttled
from app.providers import registry
from app.providers.base import Incoming
from app.providers.presets import PRESETS
from tests.providers.contract import TEXTS, ProviderContract, soon, wire_of
from tests.providers.fakes.base import Refused
from tests.providers.fakes.cohere import CohereFake
from tests.providers.fakes.ollama import OllamaFake
from tests.providers.fakes.openai import OpenAIFake, Spec
from tests.providers.fakes.tei import TeiFake
from tests.providers.test_voyage import SPEC as VOYAGE
from tests.support.vectors import encode, vector

#: A kind → its strict fake.
FAKES = {
    "openai": OpenAIFake,
    "voyage": lambda: OpenAIFake(VOYAGE),
    "cohere": CohereFake,
    "ollama": OllamaFake,
    "tei": TeiFake,
}
#: Kinds without a flat request body: each has tests of its own.
ELSEWHERE = {"local", "gemini", "vertex", "bedrock"}
FLAT_KINDS = sorted(set(registry.kinds()) - ELSEWHERE)


def talk(kind, fake, **settings):
    """Return a provider of a kind that calls its fake."""
    return type("Suite", (ProviderContract,), {"kind": kind})().provider(fake, **settings)


def call(items=TEXTS, **others):
    return Call("a-model", items, **{"width": 8, **others})


def sent(kind, asked):
    wire = wire_of(kind=kind, base_url="http://127.0.0.1:9", api_key="k")
    return json.loads(wire.build(asked).body)


def test_encoding_format_is_not_sent_to_providers_that_refuse_it():
    """They are not sent one; otherwise each call would be a 400."""
    for kind in ("fireworks", "together", "databricks", "ollama", "tei", "cohere"):
        assert "encoding_format" not in sent(kind, call())
    with OpenAIFake(Spec(fields=frozenset(), encodings=())) as fake:
        provider = talk("openai", fake, encoding="omit", send_dimensions=False)
        assert len(provider.embed(call(), soon()).rows) == len(TEXTS)


@pytest.mark.parametrize("kind", ["openai", "voyage", "mistral", "jina", "vllm"])
def test_floats_in_place_of_base64_are_read_as_floats(kind):
    """A JavaScript client would decode floats as base64 and get vectors of a quarter of the width.
    Here both become the same float32 bytes, from which the requested encoding is made."""
    rows = [vector(text, 8) for text in TEXTS]
    for show in (lambda row: row.tolist(), encode):
        data = [{"index": i, "embedding": show(row)} for i, row in enumerate(rows)]
        answer = Incoming(200, {}, json.dumps({"data": data}).encode())
        assert wire_of(kind=kind).parse(answer, call()).rows == [row.tobytes() for row in rows]


def test_both_encodings_in_one_answer_are_read():
    row = vector("x", 8)
    data = [{"index": 0, "embedding": row.tolist()}, {"index": 1, "embedding": encode(row)}]
    answer = Incoming(200, {}, json.dumps({"data": data}).encode())
    assert wire_of(kind="openai").parse(answer, call(["x", "x"])).rows == [row.tobytes()] * 2


@pytest.mark.parametrize("kind", FLAT_KINDS)
def test_nulls_are_not_passed_on(kind):
    """``encoding_format: null`` is a 400 or 422 upstream."""
    body = wire_of(kind=kind, base_url="http://127.0.0.1:9").build(call()).body
    assert b"null" not in body


@pytest.mark.parametrize("kind", sorted(FAKES.keys() & {"openai", "voyage"}))
def test_data_out_of_order_is_sorted(kind):
    with FAKES[kind]() as fake:
        fake.behaviour.shuffled = True
        vectors = talk(kind, fake).embed(call(), soon())
    assert [np.frombuffer(row, "<f4").tolist() for row in vectors.rows] == [
        vector(text, 8).tolist() for text in TEXTS
    ]


@pytest.mark.parametrize("kind", FAKES)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda rows: rows[:-1],
        lambda rows: [*rows, rows[0]],
        lambda rows: [row[:2] for row in rows],
        lambda rows: [*rows[:-1], rows[-1] * np.nan],
    ],
    ids=["too short", "too long", "wrong width", "NaN"],
)
def test_wrong_number_width_or_nan_is_a_broken_contract(kind, spoil):
    with FAKES[kind]() as fake:
        fake.behaviour.spoil = spoil
        with pytest.raises(BrokenContract):
            talk(kind, fake).embed(call(), soon())


def test_missing_or_duplicate_index_is_a_broken_contract():
    """A missing or duplicate index is an error: the item of the vector is unknown."""
    row = encode(vector("x", 8))
    for indexes in ([0, 0], [1, 2], [0, None]):
        data = [{"index": i, "embedding": row} for i in indexes]
        with pytest.raises(BrokenContract):
            wire_of(kind="openai").parse(
                Incoming(200, {}, json.dumps({"data": data}).encode()), call(["a", "b"])
            )


@pytest.mark.parametrize("kind", FAKES)
@pytest.mark.parametrize("status", [429, 500, 503])
def test_adapter_does_not_retry(kind, status):
    """One call of an adapter is one call at the provider; only dispatch retries."""
    with FAKES[kind]() as fake:
        fake.behaviour.refusal = Refused(status, "no", {"Retry-After": "0"})
        with pytest.raises(Exception, match=str(status)):
            talk(kind, fake).embed(call(), soon())
        assert len(fake.calls) == 1


@pytest.mark.parametrize("kind", FAKES)
@pytest.mark.parametrize(("status", "error"), [(401, CredentialsRefused), (429, Throttled)])
def test_error_with_the_key_is_passed_on_without_it(kind, status, error):
    with FAKES[kind]() as fake:
        fake.behaviour.refusal = Refused(status, f"Key {fake.api_key} at {fake.address} is bad")
        with pytest.raises(error) as raised:
            talk(kind, fake).embed(call(), soon())
        assert fake.api_key not in raised.value.message
        assert str(fake.port) not in raised.value.message


@pytest.mark.parametrize("kind", FAKES)
def test_lists_are_embedded_item_by_item(kind):
    """Not only the first item, and not all in one vector."""
    with FAKES[kind]() as fake:
        vectors = talk(kind, fake).embed(call(), soon())
    assert len(set(vectors.rows)) == len(TEXTS)


TEXT_ONLY = sorted(
    {"voyage", "cohere", "ollama"}
    | {kind for kind, dialect in PRESETS.items() if not dialect.tokens}
)


@pytest.mark.parametrize("kind", TEXT_ONLY)
def test_token_ids_are_refused_for_text_providers(kind):
    """Refused: the provider would decode them with a tokenizer of its own, or read "[1, 2]"."""
    wire = wire_of(kind=kind, base_url="http://127.0.0.1:9")
    assert not wire.capabilities.tokens
    with pytest.raises(Rejected, match="takes only text"):
        wire.build(call([[1, 2], [3]]))


@pytest.mark.parametrize("kind", FLAT_KINDS)
def test_texts_are_sent_unchanged(kind):
    """Cache keys have their own test; this one is for the request to the provider."""
    texts = ["  Padded\t", "UPPER", "é\u0301", "a\n\nb", "\u200b", "🦙"]
    body = sent(kind, call(texts))
    assert texts in body.values()


@pytest.mark.parametrize("kind", FLAT_KINDS)
def test_dimensions_are_sent_under_the_providers_name_or_not_at_all(kind):
    takes = wire_of(kind=kind, base_url="http://127.0.0.1:9").limits("a-model").dimensions
    assert (4 in sent(kind, call(dimensions=4)).values()) is takes


def test_every_other_kind_has_its_own_contract_test():
    for kind in ELSEWHERE - {"local"}:  # which speaks no HTTP
        module = importlib.import_module(f"tests.providers.test_{kind}")
        kinds = {getattr(found, "kind", None) for found in vars(module).values()}
        assert kind in kinds
