"""A request that is too large is split into parts, in order and within the limits."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.deployments.call_size import split, staggered

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
