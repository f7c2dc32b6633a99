"""Slices of long texts: cut where tokens end, or anywhere with a margin."""

import base64
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tokens import bounded
from app.tokens.slices import bounded_slices, rule_of, slices
from tests.tokens.some_tokenizers import TEXTS, byte_level
from tests.tokens.some_tokenizers import few as few
from tests.tokens.some_tokenizers import llama as llama


def test_sentencepiece_drops_the_space_at_a_cut_and_byte_level_keeps_it(few, llama):
    assert (llama.space_rule, few.space_rule) == ("drop", "keep")


def test_a_tokenizer_over_spaces_cuts_nothing():
    assert rule_of(lambda text: [len(text)]) is None
    assert list(slices("hello world", 1, None)) == ["hello world"]


@given(TEXTS, st.integers(1, 20))
def test_slices_of_byte_level_tokens_are_those_of_the_whole(text, size):
    encode = byte_level().encode_ordinary
    assert [t for part in slices(text, size, "keep") for t in encode(part)] == encode(text)


@given(TEXTS, st.integers(1, 20))
def test_slices_of_sentencepiece_tokens_are_those_of_the_whole(llama, text, size):
    count = llama.count
    assert sum(count(list(slices(text, size, "drop")))) == sum(count([text]))


#: Texts of several slices without a place to cut.
UNBROKEN = {
    "CJK": "東京は日本の首都です。" * 500,
    "emoji": "😀👩‍👩‍👧🇩🇪" * 700,
    "base64": base64.b64encode(random.Random(1).randbytes(4500)).decode(),
    "one letter": "a" * 6000,
    "digits": "0123456789" * 600,
    "commas": ", " * 3000,
    "spaces after CJK": "日本 " * 2000,
}


@pytest.mark.parametrize("text", UNBROKEN.values(), ids=UNBROKEN)
@pytest.mark.parametrize("size", [500, 777, 2000])
def test_a_cut_anywhere_shifts_the_count_by_less_than_its_margin(few, llama, text, size):
    for tokenizer in (few, llama):
        parts = list(bounded_slices(text, size, size, tokenizer.space_rule))
        assert "".join(str(part) for part, _ in parts) == text
        assert [is_clean for _, is_clean in parts] == [True] + [False] * (len(parts) - 1)
        total = sum(sum(tokenizer.count([part])) for part, _ in parts)
        shift = total - tokenizer.count([text])[0]
        assert abs(shift) <= (len(parts) - 1) * bounded.MAX_SHIFT_OF_CUT / 10


@given(TEXTS, st.integers(1, 20), st.integers(0, 20))
def test_bounded_slices_are_as_short_as_said_and_cut_anywhere_only_if_needed(text, size, more):
    parts = list(bounded_slices(text, size, size + more, "keep"))
    assert "".join(str(part) for part, _ in parts) == text
    assert max(len(part) for part, _ in parts) <= size + more
    if all(is_clean for _, is_clean in parts):
        assert [part for part, _ in parts] == list(slices(text, size, "keep"))
