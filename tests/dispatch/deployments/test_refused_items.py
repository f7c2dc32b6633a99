"""Refused items are remembered for some time, up to a maximum number."""

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


def test_texts_are_not_stored():
    refused = RefusedItems(10, ttl=300)
    refused.add(["a secret text"], T)
    (digest,) = refused._hashes
    assert len(digest) == 16
    other = RefusedItems(10, ttl=300)
    other.add(["a secret text"], T)
    assert digest not in other._hashes  # keyed: no text can be looked up
