"""The expected tokens of items follow what the provider has counted, and are a little above it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.deployments.token_estimate import TokenEstimate
from app.tokens.counting import weigh

TEXTS = st.lists(st.text(min_size=1, max_size=50), min_size=1, max_size=10)


class Tokenizer:
    """A tokenizer with one token for each character."""

    def count(self, items):
        return [len(item) for item in items]


@given(TEXTS)
def test_first_estimate_is_too_high_rather_than_too_low(texts):
    for text, tokens in zip(texts, TokenEstimate().expect(texts), strict=True):
        assert weigh(text) <= tokens * 3 < weigh(text) + 3


def test_token_ids_are_counted_exactly():
    estimate = TokenEstimate()
    estimate.learn(["x" * 1000], 10)
    assert estimate.expect([[1, 2, 3], [4]]) == [3, 1]


@given(st.lists(st.tuples(TEXTS, st.integers(0, 10_000)), max_size=10), TEXTS)
def test_estimate_is_at_least_one_token(calls, texts):
    estimate = TokenEstimate()
    for items, tokens in calls:
        estimate.learn(items, tokens)
    assert 0.5 <= estimate.bytes_per_token <= 32
    assert all(tokens >= 1 for tokens in estimate.expect(texts))


@pytest.mark.parametrize("bytes_per_token", [1.0, 4.0, 12.0])
def test_estimate_follows_and_exceeds_counts_of_the_provider(bytes_per_token):
    estimate, text = TokenEstimate(), "x" * 1200
    counted = int(1200 / bytes_per_token)
    for _ in range(3):
        estimate.learn([text], counted)
    (expected,) = estimate.expect([text])
    assert counted < expected <= counted * 1.3


def test_estimate_adapts_to_other_texts():
    estimate, text = TokenEstimate(), "x" * 1000
    for tokens in [250] * 100 + [1000] * 100:
        estimate.learn([text], tokens)
    assert estimate.expect([text])[0] >= 1000


@pytest.mark.parametrize("mistake", [1, 100_000_000])
def test_a_mistaken_count_is_soon_forgotten(mistake):
    estimate, text = TokenEstimate(), "x" * 400
    for tokens in [100] * 20 + [mistake] + [100] * 20:
        estimate.learn([text], tokens)
    assert 100 < estimate.expect([text])[0] < 150


def test_short_texts_do_not_change_the_estimate():
    estimate = TokenEstimate()
    estimate.learn(["a"], 50)
    assert estimate.bytes_per_token == 3.0


def test_tokenizer_of_the_model_counts():
    assert TokenEstimate(Tokenizer()).expect(["four"]) == [4]
    unused = TokenEstimate(Tokenizer(), is_used=False)
    unused.learn(["x" * 1000], 1)
    assert unused.expect(["four"]) == [2]


def test_too_large_calls_make_calls_smaller_within_a_bound_for_some_time():
    estimate = TokenEstimate()
    for _ in range(20):
        estimate.learn(["x" * 400], 100)
    usual = estimate.bytes_per_token
    for _ in range(5000):
        estimate.raise_correction()
    assert 3.9 < estimate.correction <= 4.0
    assert estimate.bytes_per_token == usual  # by which quotas are charged
    for _ in range(200):
        estimate.learn(["x" * 400], 100)
    assert estimate.correction == 1.0
