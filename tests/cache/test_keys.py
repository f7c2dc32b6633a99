"""Cache keys are equal exactly if the vectors are equal."""

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

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
        "space": st.sampled_from(["m", "m1", "1", ""]) | names,
        "item": st.sampled_from(["a", "1", "[1]", [1], [0], [1, 0], "s", "t"]) | texts | tokens,
        "dimensions": st.sampled_from([None, 1, 11, 256]),
        "input_type": st.sampled_from([None, "query", "document"]),
        "passed": st.sampled_from([{}, {"a": "b"}, {"a": 1}, {"a": "1"}, {"a": 1.0}])
        | st.dictionaries(names, json_values, max_size=3),
        "owner": st.sampled_from(["", "m", "1"]) | names,
        "tokenizer": st.sampled_from(["", "cl100k_base", "1"]) | names,
    }
)


def key_of(meaning):
    fields = dict(meaning)
    space, owner, item = fields.pop("space"), fields.pop("owner"), fields.pop("item")
    tokenizer = fields.pop("tokenizer")
    request = EmbeddingRequest(items=[item], model="m", **fields)
    (key,) = keys_of(request, space, owner, tokenizer=tokenizer)
    return key


def canonical(meaning):
    """All that must change the key: the tokenizer does for token ids only."""
    if isinstance(meaning["item"], str):
        meaning = {**meaning, "tokenizer": ""}
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
def test_model_encoding_user_timeout_and_caching_change_nothing(meaning, text, encoding, timeout):
    fields = dict(meaning)
    space, owner, item = fields.pop("space"), fields.pop("owner"), fields.pop("item")
    fields.pop("tokenizer")
    plain = EmbeddingRequest(items=[item], model="m", **fields)
    dressed = replace(
        plain, model=text, user=text, encoding=encoding, timeout=timeout, caching=True
    )
    assert keys_of(plain, space, owner) == keys_of(dressed, space, owner)


def test_the_tokenizer_is_in_keys_of_token_ids_alone():
    """What text ids stand for depends on it; a text is the same by any."""
    request = EmbeddingRequest("m", ["a", [1]])
    by = [keys_of(request, "s", tokenizer=name) for name in ("", "cl100k_base", "o200k_base")]
    assert len({text for text, _ in by}) == 1
    assert len({ids for _, ids in by}) == 3


@given(st.lists(texts, min_size=1, max_size=10, unique=True) | st.lists(tokens, unique_by=tuple))
def test_keys_are_in_item_order_and_independent_of_other_items(items):
    together = keys_of(EmbeddingRequest("m", items), "s")
    apart = [keys_of(EmbeddingRequest("m", [item]), "s")[0] for item in items]
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
    assert keys_of(EmbeddingRequest("m", [one]), "s") != keys_of(
        EmbeddingRequest("m", [other]), "s"
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((EmbeddingRequest("m", ["x"]), "ab", "c"), (EmbeddingRequest("m", ["x"]), "b", "ca")),
        ((EmbeddingRequest("m", ["x"]), "m1"), (EmbeddingRequest("m", ["x"], dimensions=1), "m")),
        (
            (EmbeddingRequest("m", ["x"], dimensions=12), "s"),
            (EmbeddingRequest("m", ["x"], dimensions=1), "s"),
        ),
        (
            (EmbeddingRequest("m", ["x"], input_type="query"), "m"),
            (EmbeddingRequest("m", ["x"]), "mquery"),
        ),
        (
            (EmbeddingRequest("m", ["x"], passed={"a": None}), "s"),
            (EmbeddingRequest("m", ["x"], passed={}), "s"),
        ),
    ],
)
def test_adjacent_fields_are_separated(one, other):
    assert keys_of(*one) != keys_of(*other)


def test_the_order_of_passed_on_fields_does_not_matter():
    one = EmbeddingRequest("m", ["x"], passed={"a": 1, "b": {"c": 2, "d": 3}})
    other = EmbeddingRequest("m", ["x"], passed={"b": {"d": 3, "c": 2}, "a": 1})
    assert keys_of(one, "s") == keys_of(other, "s")


def test_key_layout_is_unchanged():
    """A shared cache outlives processes, so a new layout needs a new version in the key."""
    request = EmbeddingRequest("m", ["text", [1, 2]], "base64", 8, "user", "query")
    assert [key.hex() for key in keys_of(request, "space", "owner")] == [
        "cbb08126e9d588f41fa4bb0781ab49904c0a005d",
        "bb460ef60df783823ebe2acf6c62a85c4211a607",
    ]


def test_names_with_surrogates_have_a_key():
    request = EmbeddingRequest("m", ["x"])
    assert keys_of(request, "s", "\ud800") != keys_of(request, "s", "?")
