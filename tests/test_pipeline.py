"""The pipeline: cache look-ups, calls to providers, order and checks of the vectors."""

import logging
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from app import config
from app.cache.memory import MemoryCache
from app.dispatch import Dispatcher
from app.domain import Caller, EmbeddingRequest
from app.errors import (
    BadRequest,
    DeadlineExceeded,
    IncompleteAnswer,
    Rejected,
    UpstreamFailed,
)
from app.pipeline import Pipeline, verify
from tests.api import fake
from tests.api.fake import WIDTH, FakeProvider
from tests.api.fake import settings as app_settings
from tests.support.vectors import count_tokens, vector

CALLER = Caller("me")
WIDE, NARROW = bytes(4 * WIDTH), bytes(4 * (WIDTH - 1))


class Bench:
    """A pipeline over a fake provider and a real cache."""

    def __init__(self, provider=None, cache=True, scope="shared"):
        self.provider = provider or FakeProvider()
        checked = config.check(app_settings())
        self.cache = MemoryCache(2**20, 3600) if cache else None
        self.dispatcher = Dispatcher(checked, {"fake": self.provider})
        self.pipeline = Pipeline(self.dispatcher, self.cache, scope)

    def run(self, *items, caller=CALLER, seconds=60.0, **fields):
        asked = {"model": "embed", "items": list(items), "caching": True, **fields}
        request = EmbeddingRequest(**asked)
        return self.pipeline.run(request, caller, time.monotonic() + seconds)


@pytest.fixture
def bench():
    """A pipeline with a cache."""
    return Bench()


def assert_right(outcome, items):
    assert list(outcome.vectors.rows) == [vector(item, WIDTH).tobytes() for item in items]
    assert list(outcome.vectors.tokens) == [count_tokens(item) for item in items]
    assert outcome.prompt_tokens == sum(map(count_tokens, items))


def test_cache_is_not_used_unless_requested(bench):
    for _ in range(2):
        outcome = bench.run("a", caching=False)
        assert (outcome.cache, outcome.cached_tokens) == ("off", 0)
        assert_right(outcome, ["a"])
    assert bench.provider.items == ["a", "a"]
    assert bench.run("a").cache == "miss"


def test_caching_is_off_without_a_cache():
    bench = Bench(cache=False)
    assert [bench.run("a").cache for _ in range(2)] == ["off", "off"]
    assert bench.provider.items == ["a", "a"]


def test_miss_hit_and_partial(bench):
    miss = bench.run("a", "two words")
    assert (miss.cache, miss.cached_tokens, miss.attempts, miss.provider) == ("miss", 0, 1, "fake")
    hit = bench.run("two words", "a")
    assert (hit.cache, hit.cached_tokens, hit.attempts, hit.provider) == ("hit", 3, 0, "")
    assert hit.upstream_seconds == 0
    partial = bench.run("new", "two words", "a", "newer")
    assert (partial.cache, partial.cached_tokens, partial.attempts) == ("partial", 3, 1)
    for outcome, items in [
        (miss, ["a", "two words"]),
        (hit, ["two words", "a"]),
        (partial, ["new", "two words", "a", "newer"]),
    ]:
        assert_right(outcome, items)
    assert bench.provider.items == ["a", "two words", "new", "newer"]


def test_duplicate_item_is_embedded_once_and_counted_twice(bench):
    items = ["a b", "c", "a b", "a b"]
    assert_right(bench.run(*items), items)
    assert sorted(bench.provider.items) == ["a b", "c"]
    again = bench.run(*items)
    assert_right(again, items)
    assert again.cached_tokens == 7


texts = st.sampled_from(["a", "b", "c d", "e", "1", "[1]"])


tokens = st.sampled_from([(1,), (1, 2), (12,), (7,)]).map(list)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(texts, min_size=1, max_size=6) | st.lists(tokens, min_size=1, max_size=6),
            st.sampled_from([None, 2, 4]),
            st.sampled_from([None, "query"]),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_each_vector_belongs_to_its_item(requests):
    bench = Bench()
    for items, dimensions, input_type in requests:
        outcome = bench.run(*items, dimensions=dimensions, input_type=input_type)
        assert list(outcome.vectors.rows) == [
            vector(item, dimensions or WIDTH).tobytes() for item in items
        ]


def test_text_and_tokens_have_different_keys(bench):
    assert bench.run("[1]").cache == "miss"
    assert bench.run([1]).cache == "miss"
    assert_right(bench.run([1]), [[1]])


@pytest.mark.parametrize(
    "other", [{"dimensions": 4}, {"input_type": "query"}, {"passed": {"task": "x"}}]
)
def test_fields_that_change_the_vector_change_the_key(bench, other):
    bench.run("a")
    assert bench.run("a", **other).cache == "miss"
    assert bench.run("a", **other).cache == "hit"


def test_encoding_and_user_do_not_change_the_key(bench):
    bench.run("a")
    assert bench.run("a", encoding="base64", user="jane").cache == "hit"


@pytest.mark.parametrize(("scope", "state"), [("shared", "hit"), ("key", "miss")])
def test_entries_are_shared_unless_scope_is_key(scope, state):
    bench = Bench(scope=scope)
    bench.run("a", caller=Caller("one"))
    assert bench.run("a", caller=Caller("other")).cache == state
    assert bench.run("a", caller=Caller("one")).cache == "hit"


def test_estimated_is_set_for_new_vectors_only():
    provider = FakeProvider()
    provider.estimated = True
    assert Bench(provider).run("a").vectors.estimated


def test_failure_stores_nothing(bench):
    bench.provider.fail = Rejected("Not this text.")
    with pytest.raises(BadRequest) as caught:
        bench.run("a")
    assert caught.value.message == "Not this text."
    assert "Not this" not in caught.value.log_message
    bench.provider.fail = None
    assert bench.run("a").cache == "miss"


@pytest.mark.parametrize("caching", [False, True])
def test_a_bug_in_an_adapter_is_a_failure_of_its_provider(bench, caching):
    bench.provider.fail = RuntimeError("a bug")
    with pytest.raises(UpstreamFailed):
        bench.run("a", caching=caching)
    bench.provider.fail = None
    assert bench.run("a").cache == "miss"


@pytest.mark.parametrize(
    ("rows", "count", "width"),
    [
        ([WIDE], 2, WIDTH),
        ([WIDE, WIDE], 1, WIDTH),
        ([], 1, None),
        ([b""], 1, None),
        ([WIDE, b""], 2, WIDTH),
        ([WIDE, NARROW], 2, None),
        ([NARROW], 1, WIDTH),
        ([WIDE], 1, WIDTH - 1),
    ],
)
def test_incomplete_vectors_raise(rows, count, width, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("app"), "propagate", True)
    with pytest.raises(IncompleteAnswer):
        verify(rows, count, width)
    assert "a bug" in caplog.text


@pytest.mark.parametrize("width", [None, WIDTH])
def test_complete_vectors_pass(width):
    verify([WIDE, WIDE], 2, width)


def test_vectors_of_wrong_width_are_neither_sent_nor_stored(bench):
    pipeline = Pipeline(bench.dispatcher, bench.cache, widths={"embed": WIDTH + 1})
    for _ in range(2):
        for caching in (False, True):
            request = EmbeddingRequest("embed", ["a"], caching=caching)
            with pytest.raises(IncompleteAnswer) as caught:
                pipeline.run(request, CALLER, time.monotonic() + 60)
            assert caught.value.attempts == 1
    assert bench.run("a").cache == "miss"


def test_vectors_of_mixed_widths_that_are_embedded_again_are_not_sent(bench, monkeypatch):
    """The model changes its width while "a" is in the cache, so that all is embedded again."""
    bench.run("a", model="org/model")
    monkeypatch.setattr(fake, "WIDTH", WIDTH - 1)
    embed = bench.dispatcher.embed

    def mixed(*arguments):
        outcome = embed(*arguments)
        return replace(outcome, vectors=replace(outcome.vectors, rows=[WIDE, NARROW]))

    monkeypatch.setattr(bench.dispatcher, "embed", mixed)
    with pytest.raises(IncompleteAnswer) as caught:
        bench.run("a", "b", model="org/model")
    assert caught.value.attempts == 2  # one for "b", and one for both
    assert sum(caught.value.purchases.values()) == 3


def test_deadline_holds_while_a_provider_hangs(bench):
    bench.provider.hold = threading.Event()
    start = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        bench.run("a", seconds=0.1, timeout=3)
    assert time.monotonic() - start < 10  # the provider hangs for a minute
    assert caught.value.message == "Request timed out after 3 s."
    bench.provider.hold.set()


def test_request_is_not_modified(bench):
    request = EmbeddingRequest("embed", ["a", "b"], caching=True)
    before = replace(request, items=list(request.items))
    bench.pipeline.run(request, CALLER, time.monotonic() + 60)
    assert request == before
