"""All vectors of one answer have one width, also if the model has no `dimensions`."""

import time
from collections import Counter

import pytest

from app.cache.memory import MemoryCache
from app.domain import Caller, EmbeddingRequest
from app.errors import BadRequest, ClientError, Rejected
from app.pipeline import Pipeline
from tests.dispatch.arrangements import START, Stub, dispatcher, models, vectors, waited
from tests.dispatch.members import OtherWidth
from tests.dispatch.rows import WIDTH
from tests.dispatch.simulator import simulated


def of_width(width):
    return Stub(lambda call: vectors(call.items, width))


def widths(ask):
    """Return the widths in one answer, or the status of its error."""
    try:
        return {len(row) // 4 for row in ask().vectors.rows}
    except ClientError as error:
        return {f"error {error.status}"}


@pytest.mark.parametrize("parts", [2, 4, 9])
def test_parts_of_an_answer_have_one_width(parts):
    made = dispatcher({"a": of_width(1), "b": of_width(2)}, max_inputs=1)
    request = EmbeddingRequest("m", [f"{i}" for i in range(parts)])
    for _ in range(30):
        found = widths(lambda: made.embed(request, time.monotonic() + 60))
        assert len(found) == 1, found
        assert found <= {1, 2, "error 502", "error 500"}


def test_cached_and_new_vectors_have_one_width():
    """The provider's model changed between two requests; the settings have no `dimensions`."""
    width = [1]
    changing = Stub(lambda call: vectors(call.items, width[0]))
    cache = MemoryCache(2**20, 3600, time.monotonic)
    pipeline = Pipeline(dispatcher({"a": changing}), cache)

    def ask(*items):
        request = EmbeddingRequest("m", items, caching=True)
        return pipeline.run(request, Caller("tests"), time.monotonic() + 60)

    assert widths(lambda: ask("x")) == {1}
    width[0] = 2
    found = Counter(map(str, widths(lambda: ask("x", "y"))))
    assert len(found) == 1, f"widths {sorted(found)} in one answer"


def test_error_of_items_that_are_embedded_again_has_all_calls_and_purchases():
    """The width changes after the first request, and the third call fails."""
    results = iter([1, 2])

    def answer(call):
        width = next(results, None)
        if width is None:
            raise Rejected("your input is invalid")
        return vectors(call.items, width)

    pipeline = Pipeline(dispatcher({"a": Stub(answer)}), MemoryCache(2**20, 60, time.monotonic))

    def ask(*items):
        request = EmbeddingRequest("m", list(items), caching=True)
        return pipeline.run(request, Caller("tests"), time.monotonic() + 60)

    ask("x")
    with pytest.raises(BadRequest) as raised:
        ask("x", "y")
    assert raised.value.attempts == 2
    assert raised.value.purchases == {("a", "m"): 1}


def test_times_of_items_that_are_embedded_again_are_those_of_all_calls():
    def changing(world, call):
        return 1.0, OtherWidth(WIDTH + 4) if world.now > START + 5 else None

    with simulated({"a": changing}, models("a"), caching=True) as run:
        run.ask("m", ["x"])
        both = run.ask("m", ["x", "y"], after=10)
        run.world.run()
    assert both.outcome.attempts == 2
    assert both.outcome.upstream_seconds == pytest.approx(2.0, abs=0.01)
    assert both.outcome.upstream_seconds + both.outcome.queue_seconds <= waited(both)
