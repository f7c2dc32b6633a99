"""The embedded provider: real embeddings in this process."""

import re
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.concurrency import threads
from app.concurrency.deadline import Deadline
from app.config import ProviderSettings
from app.domain import Call
from app.errors import BrokenContract, ProviderTimeout, Rejected
from app.providers import registry
from app.providers.kinds import local
from app.tokens.slices import slices
from tests.providers.http import without_threads


@pytest.fixture(scope="module")
def provider():
    """The provider, as the registry makes it."""
    return registry.make(ProviderSettings("local", "local"))


def embed(provider, *items, seconds=60):
    return provider.embed(
        Call("l2_supercat", list(items), 256), Deadline(time.monotonic() + seconds)
    )


def values(row):
    return np.frombuffer(row, "<f4")


def ids(provider, text):
    return provider._ids([text])[0]


def test_vectors_are_256_wide_and_of_length_1(provider):
    vectors = embed(provider, "a", "many words in a row", "日本語 \U0001f600")
    for row in vectors.rows:
        assert values(row).shape == (256,)
        assert np.linalg.norm(values(row)) == pytest.approx(1, abs=1e-6)
    assert not vectors.estimated


def test_similar_texts_have_similar_vectors(provider):
    king, queen, brick = (
        values(row)
        for row in embed(
            provider, "the king of France", "the queen of England", "a brick wall in the rain"
        ).rows
    )
    assert king @ queen > king @ brick + 0.2


def test_a_text_and_its_tokens_are_the_same_vector(provider):
    text = embed(provider, "hello world")
    tokens = embed(provider, ids(provider, "hello world"))
    assert list(text.rows) == list(tokens.rows)
    assert list(text.tokens) == list(tokens.tokens) == [len(ids(provider, "hello world"))]


def test_vector_does_not_depend_on_other_items(provider):
    texts = [f"text number {n} " * (n % 7 + 1) for n in range(100)]  # more than one slice
    together = embed(provider, *texts)
    assert len(together.rows) == 100
    for n in (0, 31, 32, 33, 64, 99):
        alone = embed(provider, texts[n])
        assert alone.rows[0] == together.rows[n]
        assert alone.tokens[0] == together.tokens[n]


@pytest.mark.parametrize("text", [" ", "\n", "\t\t", "\u200b", "\x00", "x" * 100_000])
def test_any_text_that_openai_takes_is_embedded(provider, text):
    assert embed(provider, text).tokens[0] >= 1


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_invalid_unicode_is_refused(provider, text):
    with pytest.raises(Rejected, match="no Unicode") as caught:
        embed(provider, text)
    assert caught.value.param == "input"


def test_a_long_text_is_not_cut(provider):
    long = embed(provider, "word " * 5000)
    assert long.tokens[0] >= 5000


@pytest.mark.parametrize("token", [32_000, 2**31 - 1, 10**30, -1])
def test_tokens_of_another_vocabulary_are_refused(provider, token):
    with pytest.raises(Rejected) as caught:
        embed(provider, [5, token])
    assert "below 32000" in caught.value.message
    assert caught.value.param == "input"
    embed(provider, [0, 31_999])


def test_every_token_has_a_vector(provider):
    table = provider._model.embedding
    assert np.isfinite(table).all()
    assert table.any(axis=1).all()


def test_a_text_without_tokens_is_refused(provider, monkeypatch):
    monkeypatch.setattr(provider, "_ids", lambda items: [[] for _ in items])
    with pytest.raises(Rejected, match="without a single token") as caught:
        embed(provider, "nothing")
    assert caught.value.param == "input"


def test_broken_model_is_an_error(provider, monkeypatch):
    monkeypatch.setattr(provider, "_embed", lambda ids: bytes(4 * 256))
    with pytest.raises(BrokenContract, match="answered a vector of nothing but zeros"):
        embed(provider, "x")


def test_embedding_stops_at_the_deadline(provider, monkeypatch):
    with pytest.raises(ProviderTimeout):
        embed(provider, "x", seconds=-1)
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    encoded = []

    def encode(texts):
        encoded.append(len(texts))
        now[0] += 1
        return [[5]] * len(texts)

    monkeypatch.setattr(provider, "_ids", encode)
    with pytest.raises(ProviderTimeout, match="did not finish in time"):
        provider.embed(Call("m", ["x"] * 1000, 256), Deadline(2.5))
    assert len(encoded) == 3  # and not all of them


def test_capabilities(provider):
    takes = provider.limits("l2_supercat")
    assert takes.tokens
    assert not takes.dimensions
    assert (takes.max_inputs, takes.max_tokens) == (None, None)


WORDS = st.sampled_from(
    [
        "a",
        "word",
        "<s>",
        "</s>",
        "<unk>",
        " ",
        "  ",
        "▁",
        "\n",
        "日本",
        "😀",
        "naïve",
        "7",
        ">",
        "<",
    ]
)


@given(st.lists(WORDS | st.text(max_size=3), max_size=60).map(" ".join), st.integers(1, 20))
def test_slices_have_the_token_ids_of_the_whole_text(provider, text, size):
    text = text.encode(errors="ignore").decode()
    together = [token for part in slices(text, size) for token in ids(provider, part)]
    assert together == ids(provider, text)


def test_no_token_crosses_a_cut(provider):
    """All tokens, not only those a search finds: what `slices` depends on."""
    vocabulary = provider._model.tokenizer.get_vocab()
    assert not [token for token in vocabulary if re.search(r"[^\u2581]\u2581", token)]


def test_a_long_text_and_its_tokens_are_the_same_vector(provider):
    text = "many words in a row, and a number 12 " * 2000
    assert len(list(slices(text, local.SLICE_SIZE))) > 5
    by_text, by_tokens = embed(provider, text), embed(provider, ids(provider, text))
    np.testing.assert_allclose(values(by_text.rows[0]), values(by_tokens.rows[0]), atol=1e-6)
    assert list(by_text.tokens) == list(by_tokens.tokens) == [len(ids(provider, text))]


@pytest.mark.parametrize(
    "text", ["日本" * 20_000, "a" * 40_000, "😀" * 5000], ids=["CJK", "a", "emoji"]
)
def test_a_long_text_without_a_place_to_cut_is_embedded_in_bounded_slices(
    provider, monkeypatch, text
):
    whole = embed(provider, text, seconds=60)
    sizes = []
    encode = provider._encode
    monkeypatch.setattr(
        provider, "_encode", lambda texts: sizes.extend(map(len, texts)) or encode(texts)
    )
    monkeypatch.setattr(local, "MAX_SLICE_SIZE", 9000)
    sliced = embed(provider, text, seconds=60)
    assert max(sizes) <= 9000
    assert sum(sizes) == len(text)
    assert sliced.tokens[0] == pytest.approx(whole.tokens[0], abs=10)
    assert values(sliced.rows[0]) @ values(whole.rows[0]) > 0.999


def test_a_long_text_stops_at_the_deadline(provider, monkeypatch):
    deadline = Deadline(time.monotonic() + 60)
    encoded = []

    def encode(texts):
        encoded.extend(texts)
        if len(encoded) == 3:
            deadline.cancel()
        return [[5]] * len(texts)

    monkeypatch.setattr(provider, "_ids", encode)
    with pytest.raises(ProviderTimeout, match="did not finish in time"):
        provider.embed(Call("m", ["word " * 100_000], 256), deadline)
    assert len(encoded) == 3


def test_a_long_text_without_a_place_to_cut_ends_at_the_deadline(provider, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(provider, "_encode", lambda texts: release.wait(60))
    try:
        with pytest.raises(ProviderTimeout, match="did not finish in time"):
            embed(provider, "x" * 100_000, seconds=0.05)
    finally:
        release.set()


@without_threads
def test_a_long_text_without_a_place_to_cut_is_embedded_where_no_thread_can_be_had(
    provider, monkeypatch, no_threads
):
    monkeypatch.setattr(threads, "_thread", no_threads)
    assert embed(provider, "x" * 40_000, seconds=60).rows
