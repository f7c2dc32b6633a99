"""A provider's token count is divided among the items; the shares sum to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tokens.counting import estimate, share, weigh, weigh_all


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=1, max_size=50))
def test_shares_always_sum_to_the_total_and_are_within_one_of_fair(total, weights):
    shares = share(total, weights)
    assert sum(shares) == total
    assert len(shares) == len(weights)
    even = sum(weights) == 0
    for part, weight in zip(shares, weights, strict=True):
        fair = total / len(weights) if even else total * weight / sum(weights)
        assert abs(part - fair) < 1 + 1e-6 * fair


@pytest.mark.parametrize(
    ("total", "weights", "shares"),
    [
        (7, [1], [7]),
        (7, [0], [7]),
        (10, [1, 1, 2], [3, 2, 5]),  # what is left goes by the largest remainder
        (2, [0, 0, 0], [1, 1, 0]),
        (0, [5, 9], [0, 0]),
        (3, [0, 10], [0, 3]),
    ],
)
def test_shares_by_example(total, weights, shares):
    assert share(total, weights) == shares


@pytest.mark.parametrize(
    ("item", "weight", "tokens"),
    [
        ("a", 1, 1),
        ("abcde", 5, 2),
        ("ü", 2, 1),
        ("日本語", 9, 3),
        ("\ud800", 3, 1),
        ([5, 6, 7], 3, 3),
    ],
)
def test_weight_is_bytes_or_tokens(item, weight, tokens):
    assert (weigh(item), estimate(item)) == (weight, tokens)


@given(st.lists(st.text() | st.lists(st.integers(0, 9))))
def test_weights_of_all_are_those_of_each(items):
    assert weigh_all(items) == [weigh(item) for item in items]


def test_equal_remainders_go_to_the_first():
    assert share(5, [2, 2, 2, 2]) == [2, 1, 1, 1]
    assert share(6, [1, 1, 1, 1]) == [2, 2, 1, 1]
