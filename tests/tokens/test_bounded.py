"""Counting and decoding of long texts: exact, and over at the deadline."""

import threading
import time

import pytest
import tokenizers as hugging_face

from app.concurrency.deadline import Deadline
from app.tokens import bounded, tokenizers
from app.tokens.bounded import BoundedTokenizer
from app.tokens.slices import bounded_slices
from tests.tokens.some_tokenizers import few as few
from tests.tokens.some_tokenizers import llama as llama
from tests.tokens.test_slices import UNBROKEN


def test_special_tokens_are_those_that_the_model_adds(few, llama):
    assert (few.special_tokens, llama.special_tokens) == (0, 1)


@pytest.mark.parametrize("text", ["many words in a row " * 10_000, "日本" * 50_000, "short"])
def test_a_count_is_that_of_the_library(llama, text):
    whole = llama.count([text])
    tokenizer = BoundedTokenizer(llama)
    assert tokenizer.count([text, [1, 2], "x"]) == [*whole, 2, 1]
    assert tokenizer.count_up_to(text, None) == (whole[0], True)
    assert tokenizer.count_up_to(text, whole[0]) == (whole[0], True)


def test_a_count_stops_above_its_limit(llama, monkeypatch):
    monkeypatch.setattr(bounded, "SLICE_SIZE", 1000)
    counted = []
    count = llama.count
    monkeypatch.setattr(llama, "count", lambda items: counted.append(items) or count(items))
    total, is_exact = BoundedTokenizer(llama).count_up_to("many words " * 10_000, 300)
    assert 300 < total < 1000
    assert not is_exact
    assert len(counted) == 2


@pytest.mark.parametrize("rule", ["drop", "keep", None])
@pytest.mark.parametrize("text", UNBROKEN.values(), ids=UNBROKEN)
def test_a_long_text_is_refused_without_a_place_to_cut(llama, monkeypatch, text, rule):
    """However long it is, each piece of work on it is small."""
    monkeypatch.setattr(bounded, "SLICE_SIZE", 1000)
    monkeypatch.setattr(bounded, "MAX_COUNTED_SIZE", 1500)
    monkeypatch.setattr(llama, "space_rule", rule)
    sizes = []
    count = llama.count
    monkeypatch.setattr(llama, "count", lambda items: sizes.extend(map(len, items)) or count(items))
    whole = count([text])[0]
    limit = 300
    total, is_exact = BoundedTokenizer(llama).count_up_to(text, limit)
    assert limit < total <= whole
    assert not is_exact
    assert max(sizes) <= 1500
    assert sum(sizes) < len(text)


def word_piece(path):
    """A tokenizer of the kind of BERT's, to which a word over 100 characters is one token."""
    vocabulary = {"[UNK]": 0, "a": 1, "##a": 2}
    library = hugging_face.Tokenizer(hugging_face.models.WordPiece(vocabulary, unk_token="[UNK]"))
    library.pre_tokenizer = hugging_face.pre_tokenizers.BertPreTokenizer()
    library.save(str(path))
    return tokenizers.load(str(path))


@pytest.mark.parametrize("word", [99, 100, 101, 150, 199, 200, 1300])
def test_the_margin_of_a_cut_covers_the_halves_of_a_long_word(tmp_path, word):
    """One word of more than 100 characters is one token, and its halves are up to 100 each."""
    tokenizer = word_piece(tmp_path / "tokenizer.json")
    text = ("a" * word + "\n") * (6000 // word)
    for size in range(500, 800, 7):
        parts = list(bounded_slices(text, size, size, tokenizer.space_rule))
        shift = sum(sum(tokenizer.count([part])) for part, _ in parts) - tokenizer.count([text])[0]
        assert abs(shift) <= (len(parts) - 1) * bounded.MAX_SHIFT_OF_CUT


def test_a_count_of_slices_that_were_cut_anywhere_is_not_exact(llama, monkeypatch):
    monkeypatch.setattr(bounded, "MAX_COUNTED_SIZE", 1500)
    monkeypatch.setattr(bounded, "SLICE_SIZE", 1000)
    text = UNBROKEN["CJK"]
    whole = llama.count([text])[0]
    total, is_exact = BoundedTokenizer(llama).count_up_to(text, whole)
    assert whole - 4 * 2 * bounded.MAX_SHIFT_OF_CUT < total <= whole
    assert not is_exact


class Endless:
    """A tokenizer that never ends."""

    special_tokens = 0
    space_rule = "drop"

    def __init__(self):
        self.release = threading.Event()

    def count(self, items):
        self.release.wait(60)
        return [1] * len(items)

    def decode(self, tokens):
        self.release.wait(60)
        return "x"


@pytest.fixture
def endless():
    made = Endless()
    yield made
    made.release.set()


@pytest.mark.parametrize(
    "work",
    [
        lambda t, deadline: t.count(["word " * 3000], deadline),
        lambda t, deadline: t.count(["word"] * 3000, deadline),
        lambda t, deadline: t.count_up_to("word " * 3000, 5, deadline),
        lambda t, deadline: t.decode([[1] * 10_000], deadline),
    ],
    ids=["a text", "texts", "up to", "decode"],
)
def test_work_that_never_ends_is_left_at_the_deadline(endless, work):
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        work(BoundedTokenizer(endless), Deadline(began + 0.1))
    assert time.monotonic() - began < 20


def test_waiting_for_a_thread_ends_at_the_deadline(endless):
    tokenizer = BoundedTokenizer(endless)
    for _ in range(bounded.MAX_THREADS + 1):
        with pytest.raises(TimeoutError):
            tokenizer.count(["word " * 3000], Deadline(time.monotonic() + 0.05))


def test_nothing_is_begun_after_the_deadline(llama):
    with pytest.raises(TimeoutError):
        BoundedTokenizer(llama).count(["short"], Deadline(time.monotonic() - 1))


def test_long_token_ids_decode_to_the_text(llama):
    text = "many words in a row " * 5000
    ids = llama._tokenizer.encode(text, add_special_tokens=False).ids
    assert len(ids) > bounded.MAX_INLINE_SIZE
    assert BoundedTokenizer(llama).decode([ids, [22172]]) == [text.rstrip() + " ", "hello"]


@pytest.mark.parametrize(("size", "is_here"), [(bounded.MAX_INLINE_SIZE, True), (9000, False)])
def test_what_is_long_leaves_the_calling_thread(size, is_here):
    """Under gevent that is the thread of the event loop, which serves the others."""
    threads = []

    class Noting(Endless):
        def count(self, items):
            threads.append(threading.get_ident())
            return [1] * len(items)

        def decode(self, tokens):
            threads.append(threading.get_ident())
            return "x"

    tokenizer = BoundedTokenizer(Noting())
    tokenizer.count(["x" * size])
    tokenizer.decode([[1] * size])
    assert [thread == threading.get_ident() for thread in threads] == [is_here] * 2
