"""A request that is too large goes in parts: all of it, in order, none over a limit."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.plan import expected_tokens, split

COUNTS = st.lists(st.integers(0, 50), min_size=1, max_size=60)
LIMIT = st.none() | st.integers(1, 100)


@given(COUNTS, LIMIT, LIMIT)
def test_the_parts_are_the_request(tokens, max_inputs, max_tokens):
    parts = split(tokens, max_inputs, max_tokens)
    assert [i for start, stop in parts for i in range(start, stop)] == list(range(len(tokens)))
    assert all(start < stop for start, stop in parts)


@given(COUNTS, LIMIT, LIMIT)
def test_no_part_is_over_a_limit_but_a_single_item_that_is(tokens, max_inputs, max_tokens):
    for start, stop in split(tokens, max_inputs, max_tokens):
        assert max_inputs is None or stop - start <= max_inputs
        assert max_tokens is None or stop - start == 1 or sum(tokens[start:stop]) <= max_tokens


@given(COUNTS, LIMIT, LIMIT)
def test_no_two_neighbours_would_fit_into_one(tokens, max_inputs, max_tokens):
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
def test_so_many_inputs_take_so_many_calls(inputs, limit, calls):
    assert len(split([1] * inputs, limit, None)) == calls


@given(st.lists(st.text(max_size=50), max_size=10))
def test_a_text_is_expected_to_have_rather_too_many_tokens(texts):
    for text, tokens in zip(texts, expected_tokens(texts), strict=True):
        assert tokens * 3 >= len(text.encode())
        assert tokens <= len(text.encode())


def test_tokens_are_counted_as_they_are():
    assert expected_tokens([[1, 2, 3], [4]]) == [3, 1]
