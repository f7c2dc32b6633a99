"""A request that is too large is split into parts, in order and within the limits."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.deployments.plan import TokenEstimate, split, staggered
from app.tokens.counting import weigh

COUNTS = st.lists(st.integers(0, 50), min_size=1, max_size=60)
LIMIT = st.none() | st.integers(1, 100)


@given(COUNTS, LIMIT, LIMIT)
def test_parts_together_are_the_request(tokens, max_inputs, max_tokens):
    parts = split(tokens, max_inputs, max_tokens)
    assert [i for start, stop in parts for i in range(start, stop)] == list(range(len(tokens)))
    assert all(start < stop for start, stop in parts)


@given(COUNTS, LIMIT, LIMIT)
def test_only_a_single_item_can_exceed_a_limit(tokens, max_inputs, max_tokens):
    for start, stop in split(tokens, max_inputs, max_tokens):
        assert max_inputs is None or stop - start <= max_inputs
        assert max_tokens is None or stop - start == 1 or sum(tokens[start:stop]) <= max_tokens


@given(COUNTS, LIMIT, LIMIT)
def test_adjacent_parts_do_not_fit_into_one(tokens, max_inputs, max_tokens):
    parts = split(tokens, max_inputs, max_tokens)
    for (start, middle), (_, stop) in itertools.pairwise(parts):
        inputs = middle - start + 1
        too_many = max_inputs is not None and inputs > max_inputs
        total = sum(tokens[start : middle + 1])
        too_long = max_tokens is not None and total > max_tokens
        assert stop > middle
        assert too_many or too_long


@pytest.mark.parametrize(
    ("inputs", "limit", "calls"), [(5000, 2048, 3), (8192, 96, 86), (96, 96, 1), (97, 96, 2)]
)
def test_number_of_parts_by_inputs(inputs, limit, calls):
    assert len(split([1] * inputs, limit, None)) == calls


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
        estimate.raise_expectation()
    assert 3.9 < estimate.correction <= 4.0
    assert estimate.bytes_per_token == usual  # by which quotas are charged
    for _ in range(200):
        estimate.learn(["x" * 400], 100)
    assert estimate.correction == 1.0


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=200),
    st.integers(1, 20),
    st.one_of(st.none(), st.integers(1, 200)),
)
def test_staggered_calls_hold_each_item_once_and_keep_the_limits(tokens, most, max_tokens):
    cuts = staggered(tokens, most, max_tokens)
    assert [place for start, stop in cuts for place in range(start, stop)] == list(
        range(len(tokens))
    )
    for start, stop in cuts:
        assert 1 <= stop - start <= most
        assert max_tokens is None or sum(tokens[start:stop]) <= max_tokens or stop - start == 1
    assert len(cuts) <= len(split(tokens, most, max_tokens)) + 6


def test_the_first_of_many_calls_are_smaller():
    sizes = [stop - start for start, stop in staggered([1] * 500, 64, None)]
    assert sizes == [16, 32, 48, 64, 64, 64, 64, 64, 64, 20]
    assert staggered([1] * 448, 64, None) == split([1] * 448, 64, None)
