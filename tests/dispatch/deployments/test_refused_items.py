"""Refused items are remembered for some time, up to a maximum number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.deployments.refused_items import RefusedItems
from tests.dispatch.parts import T


def test_refused_item_is_remembered_until_its_ttl():
    refused = RefusedItems(10, ttl=300)
    refused.add(["bad", "worse"], T)
    assert refused.has_any(["good", "bad"], T + 299)
    assert refused.has_any(["worse"], T)
    assert not refused.has_any(["good"], T)
    assert not refused.has_any(["bad"], T + 300)


def test_second_refusal_resets_ttl():
    refused = RefusedItems(10, ttl=300)
    refused.add(["bad"], T)
    refused.add(["bad"], T + 200)
    assert refused.has_any(["bad"], T + 450)


def test_text_and_tokens_are_different_items():
    refused = RefusedItems(10, ttl=300)
    refused.add(["a", [1, 2]], T)
    assert refused.has_any([[1, 2]], T)
    assert not refused.has_any([[1], [12], [2, 1], "1", "b"], T)


def test_lone_surrogate_can_be_remembered():
    refused = RefusedItems(10, ttl=300)
    refused.add(["\ud800"], T)
    assert refused.has_any(["\ud800"], T)


@given(st.lists(st.text(max_size=3), max_size=30), st.integers(0, 5))
def test_number_of_remembered_items_is_bounded(items, most):
    refused = RefusedItems(most, ttl=300)
    refused.add(items, T)
    assert len(refused._hashes) <= most
    known = {item for item in items if refused.has_any([item], T)}
    assert len(known) == min(most, len(set(items)))


@given(st.lists(st.text(max_size=3), max_size=30), st.integers(1, 3))
def test_number_of_hints_is_bounded(items, most):
    refused = RefusedItems(most, ttl=300)
    for item in items:
        refused.add([item], T)
        assert len(refused._hints) <= 2 * most
        assert refused.has_any([item], T)


@pytest.mark.parametrize(
    "others",
    [
        [f"a text that was not refused, number {i}" for i in range(100)],
        [f"{'x' * i}with the end of the refused one" for i in range(50, 150)],
        [[i, 2, 3] for i in range(2, 100)],
        [[1] * n for n in range(4, 100)],
    ],
    ids=["other end", "other length", "other token ids", "more token ids"],
)
def test_items_that_were_not_refused_are_not_hashed(others, monkeypatch):
    """The hash of each of thousands of items would take milliseconds."""
    refused = RefusedItems(10, ttl=300)
    refused.add(["a long text with the end of the refused one", [1, 2, 3], [1, 1, 1]], T)
    hashed = []
    hash_one = refused._hash
    monkeypatch.setattr(refused, "_hash", lambda item: hashed.append(item) or hash_one(item))
    assert not refused.has_any(others, T)
    assert len(hashed) <= 1  # hints may be equal by chance
    assert refused.has_any([*others, "a long text with the end of the refused one"], T)


def test_items_of_one_length_and_one_end_are_different():
    refused = RefusedItems(10, ttl=300)
    refused.add(["a" + "x" * 100, [1, *range(100)]], T)
    assert not refused.has_any(["b" + "x" * 100], T)
    assert not refused.has_any([[2, *range(100)]], T)
    assert refused.has_any([[1, *range(100)]], T)


def test_texts_are_not_stored():
    refused = RefusedItems(10, ttl=300)
    refused.add(["a secret text"], T)
    (digest,) = refused._hashes
    assert len(digest) == 16
    other = RefusedItems(10, ttl=300)
    other.add(["a secret text"], T)
    assert digest not in other._hashes  # keyed: no text can be looked up
