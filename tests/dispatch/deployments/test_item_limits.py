"""A text over ``max_item_tokens`` is refused before a provider can cut it."""

import threading
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.concurrency.deadline import Deadline
from app.dispatch.deployments.suitability import ItemLengths
from app.domain import EmbeddingRequest
from app.errors import BadRequest, DeadlineExceeded
from app.tokens.bounded import BoundedTokenizer
from app.tokens.tokenizers import Undecodable
from tests.dispatch.arrangements import Stub, dispatcher, vectors


class Characters:
    """A tokenizer of one token a character of two bytes, and of two ASCII ones."""

    special_tokens = 2
    space_rule = "drop"

    def __init__(self):
        self.counted = Counter()

    def count(self, items):
        self.counted.update(item for item in items if isinstance(item, str))
        return [self.tokens(item) for item in items]

    @staticmethod
    def tokens(item):
        return len(item) if not isinstance(item, str) or not item.isascii() else -(-len(item) // 2)

    def decode(self, tokens):
        if 0 in tokens:
            raise Undecodable("token ids that are no text")
        return "x" * len(tokens)


def stub(**takes):
    return Stub(lambda call: vectors(call.items), **takes)


def ask(made, *items, seconds=60.0):
    return made.embed(EmbeddingRequest("m", list(items)), time.monotonic() + seconds)


def refusal(made, *items):
    with pytest.raises(BadRequest) as raised:
        ask(made, *items)
    return raised.value


def test_a_text_over_the_limit_is_refused_in_openais_words():
    provider = stub()
    made = dispatcher({"a": provider}, Characters(), max_item_tokens=10)
    error = refusal(made, "short", "x" * 18)
    assert error.payload["error"] == {
        "message": "This model's maximum context length is 10 tokens, however you requested 11 "
        "tokens (11 in your prompt; 0 for the completion). Please reduce your prompt; or "
        "completion length.",
        "type": "invalid_request_error",
        "param": "input",
        "code": None,
    }
    assert not provider.calls


def test_a_text_of_exactly_the_limit_is_embedded():
    made = dispatcher({"a": stub()}, Characters(), max_item_tokens=10)
    assert len(ask(made, "x" * 16, "日" * 8).vectors.rows) == 2  # and two special tokens each


def test_token_ids_that_are_sent_as_such_are_counted_exactly():
    provider = stub()
    made = dispatcher({"a": provider}, Characters(), max_item_tokens=10)
    ask(made, [1] * 10)
    assert "requested 11 tokens" in refusal(made, [1] * 11).message
    assert len(provider.calls) == 1


def test_special_tokens_count_for_token_ids_that_are_sent_as_text():
    """The model adds them to the text, which the provider would cut by so many tokens."""
    provider = stub(tokens=False)
    made = dispatcher({"a": provider}, Characters(), max_item_tokens=10)
    ask(made, [1] * 8)
    assert "is 10 tokens, however you requested 11 tokens" in refusal(made, [1] * 9).message
    assert provider.calls[0].items == ["x" * 8]
    assert len(provider.calls) == 1


def test_token_ids_go_where_they_fit_as_they_are_sent():
    as_text, as_ids = stub(tokens=False), stub()
    made = dispatcher({"text": as_text, "ids": as_ids}, Characters(), max_item_tokens=10)
    for _ in range(10):
        ask(made, [1] * 9)
    assert (len(as_text.calls), len(as_ids.calls)) == (0, 10)
    assert "requested 11 tokens" in refusal(made, [1] * 11).message
    deployment = next(d for _, d in made.deployments() if d.provider_name == "ids")
    deployment.max_item_tokens = 8
    for _ in range(20):
        ask(made, [1] * 8)
    assert as_text.calls
    assert "requested 11 tokens" in refusal(made, [1] * 9).message  # as text, or 9 of 8 as ids


def test_a_deployment_with_a_smaller_limit_is_not_chosen():
    small, large = stub(), stub()
    made = dispatcher({"small": small, "large": large}, Characters(), max_item_tokens=10)
    deployment = next(d for _, d in made.deployments() if d.provider_name == "large")
    deployment.max_item_tokens = 100
    for _ in range(20):
        ask(made, "x" * 50)
    assert (len(small.calls), len(large.calls)) == (0, 20)
    assert "maximum context length is 100 tokens" in refusal(made, "x" * 300).message
    deployment.max_item_tokens = None
    ask(made, "x" * 300)


def test_no_text_is_counted_twice_for_a_request():
    """By the limit, by the limit of a call, and to divide the provider's count."""
    tokenizer = Characters()
    provider = Stub(lambda call: vectors(call.items, tokens=5))
    made = dispatcher({"a": provider}, tokenizer, max_item_tokens=50, max_tokens=60)
    ask(made, "x" * 60, "日" * 20, "y")
    assert set(tokenizer.counted.values()) == {1}
    made = dispatcher({"a": provider}, tokenizer, max_item_tokens=50)
    tokenizer.counted.clear()
    ask(made, "x" * 60, "日" * 20, "y")
    assert set(tokenizer.counted.values()) == {1}


def test_short_texts_are_not_counted_for_the_limit():
    tokenizer = Characters()
    made = dispatcher({"a": stub()}, tokenizer, max_item_tokens=50)
    ask(made, "x" * 47)
    assert not tokenizer.counted


def test_a_count_that_stopped_at_the_limit_is_not_taken_for_the_tokens_of_the_text():
    """Another deployment without a limit serves it; its tokens are then counted or estimated."""
    item = "word " * 40_000
    lengths = ItemLengths([item, "x"], [], BoundedTokenizer(Characters()))
    lengths.count(10, 10, Deadline(time.monotonic() + 60))
    assert not lengths.are_within(10)
    assert lengths.are_within(None)
    assert lengths.counts == [None, None]
    assert "at least" in lengths.refusal(10, 0).message


def test_many_short_texts_are_counted_together_and_not_after_one_that_is_too_long():
    """In one native thread at a time: one by one they would stop the event loop."""

    class Noting(Characters):
        calls = 0

        def count(self, items):
            self.calls += 1
            return super().count(items)

    tokenizer = Noting()
    made = dispatcher({"a": stub()}, tokenizer, max_item_tokens=200)
    ask(made, *(f"{i}日" * 20 for i in range(2000)))
    assert tokenizer.calls <= 4
    tokenizer.calls = 0
    refusal(made, "日" * 201, *(f"{i}本" * 20 for i in range(2000)))
    assert tokenizer.calls <= 2


def test_token_ids_are_decoded_once_whatever_is_tried():
    tokenizer, decoded = Characters(), []
    decode = tokenizer.decode
    tokenizer.decode = lambda tokens: decoded.append(tokens) or decode(tokens)
    provider = stub(tokens=False)
    made = dispatcher({"a": provider, "b": provider}, tokenizer, max_inputs=1)
    ask(made, [1, 2], [3, 4, 5])
    assert decoded == [[1, 2], [3, 4, 5]]
    assert sorted(call.items[0] for call in provider.calls) == ["xx", "xxx"]


@pytest.mark.parametrize("items", [["word " * 3000], [[1] * 9000]], ids=["text", "token ids"])
def test_work_that_takes_too_long_is_a_504(items):
    is_over = threading.Event()

    class Slow(Characters):
        def count(self, items):
            is_over.wait(60)
            return super().count(items)

        def decode(self, tokens):
            is_over.wait(60)
            return "x"

    provider = stub(tokens=False)
    made = dispatcher({"a": provider}, Slow(), max_item_tokens=10_000)
    with pytest.raises(DeadlineExceeded):
        ask(made, *items, seconds=0.05)
    is_over.set()
    assert not provider.calls


texts = st.text(st.sampled_from("ab ü日"), max_size=40)
ids = st.lists(st.integers(1, 9), min_size=1, max_size=40)


@given(
    st.lists(texts, min_size=1, max_size=5) | st.lists(ids, min_size=1, max_size=5),
    st.integers(1, 40),
    st.integers(0, 40),
)
def test_items_fit_if_and_only_if_none_has_more_tokens(items, smallest, more):
    tokenizer = Characters()
    lengths = ItemLengths(items, [], BoundedTokenizer(tokenizer))
    lengths.count(smallest, smallest + more, type("No", (), {"remaining": lambda self: 1e9})())
    longest = max(tokenizer.tokens(item) for item in items)
    for limit in (smallest, smallest + more):
        assert lengths.are_within(limit) == (longest <= limit)
