"""A tokenizer that fails is no fault of a provider, and costs no vectors that are paid for."""

import threading
import time

import pytest

from app.concurrency import threads
from app.dispatch.deployments import token_estimate
from app.domain import EmbeddingRequest
from app.errors import Overloaded
from tests.dispatch.arrangements import Stub, dispatcher, vectors

LONG = ["many words " * 2000, "other words " * 2000]  # counted in a native thread


class FourCharacters:
    """A tokenizer of four characters a token, which raises an exception for some texts."""

    special_tokens = 0
    space_rule = None

    def count(self, items):
        if "bad" in items:
            raise ValueError("a bug of the tokenizer")
        return [-(-len(item) // 4) for item in items]


class Stuck:
    """A tokenizer whose counts end only with the test: its threads are busy, or the machine is."""

    special_tokens = 0
    space_rule = None

    def __init__(self):
        self.is_over = threading.Event()

    def count(self, items):
        self.is_over.wait(100)
        return [1] * len(items)


@pytest.fixture
def stuck():
    made = Stuck()
    yield made
    made.is_over.set()


@pytest.fixture
def no_native_threads(monkeypatch):
    def start_new_thread(*_):
        raise RuntimeError("can't start new thread")

    class NoThreads:
        pass

    NoThreads.start_new_thread = staticmethod(start_new_thread)
    monkeypatch.setattr(threads, "_thread", NoThreads)


def embed(made, items):
    return made.embed(EmbeddingRequest("m", items), time.monotonic() + 60)


def assert_one_good_call(items):
    provider = Stub(lambda call: vectors(call.items, tokens=3))
    made = dispatcher({"a": provider, "b": provider}, FourCharacters())
    outcome = embed(made, items)
    assert outcome.prompt_tokens == 3 * len(items)
    assert outcome.attempts == len(provider.calls) == 1
    assert not any(deployment.breaker.last_error for _, deployment in made.deployments())


def assert_counted_by_the_provider(tokenizer, timeout, within, **limits):
    """Embed long texts with a timeout; assert that the vectors come within so many seconds."""
    provider = Stub(lambda call: vectors(call.items, tokens=3))
    made = dispatcher({"a": provider}, tokenizer, **limits)
    started_at = time.monotonic()
    outcome = made.embed(EmbeddingRequest("m", LONG), started_at + timeout)
    assert time.monotonic() - started_at < within
    assert len(outcome.vectors.rows) == len(LONG)
    assert outcome.prompt_tokens == 3 * len(LONG)


def test_vectors_whose_tokens_cannot_be_counted_keep_the_count_of_the_provider(caplog):
    assert_one_good_call(["good", "bad"])
    assert "a bug of the tokenizer" in caplog.text


def test_vectors_are_kept_where_no_thread_can_be_had_to_count_their_tokens(no_native_threads):
    assert_one_good_call(LONG)


def test_vectors_do_not_wait_until_the_deadline_for_a_count_of_their_tokens(stuck, monkeypatch):
    """The call has until the deadline, but vectors that come then are too late."""
    monkeypatch.setattr(token_estimate, "MAX_COUNT_S", 60)
    monkeypatch.setattr(token_estimate, "_COUNT_SHARE", 0.02)  # 0.4 s
    assert_counted_by_the_provider(stuck, timeout=20, within=10)


def test_vectors_and_their_slot_do_not_wait_long_for_a_count_of_tokens(stuck, monkeypatch):
    monkeypatch.setattr(token_estimate, "MAX_COUNT_S", 0.01)
    assert_counted_by_the_provider(stuck, timeout=60, within=20)


def test_request_does_not_wait_long_for_a_count_that_only_serves_an_estimate(stuck, monkeypatch):
    """The long texts of others may be before it: it is estimated by its bytes."""
    monkeypatch.setattr(token_estimate, "MAX_COUNT_S", 0.01)
    assert_counted_by_the_provider(stuck, timeout=60, within=20, max_tokens=100_000)


def test_request_whose_tokens_no_thread_can_count_is_told_that_the_proxy_is_overloaded(
    no_native_threads,
):
    provider = Stub(lambda call: vectors(call.items))
    made = dispatcher({"a": provider}, FourCharacters(), max_tokens=100_000)
    with pytest.raises(Overloaded) as raised:
        embed(made, LONG)
    assert raised.value.retry_after == 1
    assert not provider.calls
