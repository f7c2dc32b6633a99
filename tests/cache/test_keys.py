"""Cache keys are equal exactly if the vectors are equal."""

import json
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.cache.keys import DIGEST_BYTES, keys_of
from app.domain import EmbeddingRequest

names = st.text(max_size=8)
texts = st.text(min_size=1, max_size=20)
tokens = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=5,
)
#: All fields that change a vector, with few values each: examples often differ in one field only.
meaning = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["m", "m1", "1", ""]) | names,
        "item": st.sampled_from(["a", "1", "[1]", [1], [0], [1, 0], "s", "t"]) | texts | tokens,
        "dimensions": st.sampled_from([None, 1, 11, 256]),
        "input_type": st.sampled_from([None, "query", "document"]),
        "passed": st.sampled_from([{}, {"a": "b"}, {"a": 1}, {"a": "1"}, {"a": 1.0}])
        | st.dictionaries(names, json_values, max_size=3),
        "owner": st.sampled_from(["", "m", "1"]) | names,
    }
)


def key_of(meaning):
    fields = dict(meaning)
    owner, item = fields.pop("owner"), fields.pop("item")
    (key,) = keys_of(EmbeddingRequest(items=[item], **fields), owner)
    return key


def canonical(meaning):
    return json.dumps(meaning, sort_keys=True)


@given(meaning, meaning)
def test_keys_are_equal_exactly_if_all_relevant_fields_are(one, other):
    assert (key_of(one) == key_of(other)) is (canonical(one) == canonical(other))


@given(meaning, st.data())
def test_each_relevant_field_changes_the_key(before, data):
    name = data.draw(st.sampled_from(sorted(before)))
    value = data.draw(meaning)[name]
    after = {**before, name: value}
    assume(canonical(after) != canonical(before))
    assert key_of(after) != key_of(before)


@given(meaning, st.text(max_size=5), st.sampled_from(["float", "base64"]), st.integers(1, 3600))
def test_encoding_user_timeout_and_caching_do_not_change_the_key(meaning, user, encoding, timeout):
    fields = dict(meaning)
    owner, item = fields.pop("owner"), fields.pop("item")
    plain = EmbeddingRequest(items=[item], **fields)
    dressed = replace(plain, user=user, encoding=encoding, timeout=timeout, caching=True)
    assert keys_of(plain, owner) == keys_of(dressed, owner)


@given(st.lists(texts, min_size=1, max_size=10, unique=True) | st.lists(tokens, unique_by=tuple))
def test_keys_are_in_item_order_and_independent_of_other_items(items):
    together = keys_of(EmbeddingRequest("m", items))
    apart = [keys_of(EmbeddingRequest("m", [item]))[0] for item in items]
    assert together == apart
    assert len(set(together)) == len(items)
    assert all(len(key) == DIGEST_BYTES for key in together)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("text", "Text"),
        ("text", " text"),
        ("text", "text\n"),
        ("é", "e\u0301"),  # look equal, but have other code points
        ("1", [1]),
        ("[1]", [1]),
        ([1, 2], [12]),
        ([258], [2, 1]),
        ([1], [1, 0]),
        ("s", "t"),
    ],
)
def test_similar_items_have_different_keys(one, other):
    assert keys_of(EmbeddingRequest("m", [one])) != keys_of(EmbeddingRequest("m", [other]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((EmbeddingRequest("ab", ["x"]), "c"), (EmbeddingRequest("b", ["x"]), "ca")),
        ((EmbeddingRequest("m1", ["x"]), ""), (EmbeddingRequest("m", ["x"], dimensions=1), "")),
        (
            (EmbeddingRequest("m", ["x"], dimensions=12), ""),
            (EmbeddingRequest("m", ["x"], dimensions=1), ""),
        ),
        (
            (EmbeddingRequest("m", ["x"], input_type="query"), ""),
            (EmbeddingRequest("mquery", ["x"]), ""),
        ),
        (
            (EmbeddingRequest("m", ["x"], passed={"a": None}), ""),
            (EmbeddingRequest("m", ["x"], passed={}), ""),
        ),
    ],
)
def test_adjacent_fields_are_separated(one, other):
    assert keys_of(*one) != keys_of(*other)


def test_the_order_of_passed_on_fields_does_not_matter():
    one = EmbeddingRequest("m", ["x"], passed={"a": 1, "b": {"c": 2, "d": 3}})
    other = EmbeddingRequest("m", ["x"], passed={"b": {"d": 3, "c": 2}, "a": 1})
    assert keys_of(one) == keys_of(other)


def test_key_layout_is_unchanged():
    """A shared cache outlives processes, so a new layout needs a new version in the key."""
    request = EmbeddingRequest("m", ["text", [1, 2]], "base64", 8, "user", "query")
    assert [key.hex() for key in keys_of(request, "owner")] == [
        "f2f271b30e3517696899a8482d741eaeadf8119e",
        "e1c06568820ec66c40373eda75f0a91a7b14ec07",
    ]


def test_names_with_surrogates_have_a_key():
    assert keys_of(EmbeddingRequest("\ud800", ["x"])) != keys_of(EmbeddingRequest("?", ["x"]))
