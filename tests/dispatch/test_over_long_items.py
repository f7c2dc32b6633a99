"""A text that is too long for the model costs two calls, and nothing of other callers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.deployments.call_size import SizeRefusal
from app.dispatch.deployments.token_estimate import Expected, TokenEstimate
from app.dispatch.job.part import cuts_of_halves
from app.dispatch.job.parts import MAX_FREE_HALVINGS
from app.errors import Rejected
from tests.dispatch.parts import T, deployment, pool
from tests.dispatch.simulator import simulated

CONTEXT = 1000  # characters of one text
ONE = {"m": [{"provider": "a"}]}
LONG = "too long " * 500


def context(world, call):
    if any(len(item) > CONTEXT for item in call.items):
        return 0.02, Rejected("This model's maximum context length is 1000", too_large=True)
    return 0.05, None


def whole_call(limit):
    """Refuse calls of more characters as too large."""

    def behaviour(world, call):
        if sum(map(len, call.items)) > limit:
            return 0.02, Rejected("too many tokens in one request", too_large=True)
        return 0.05, None

    return behaviour


@pytest.mark.parametrize("place", [0, 700, 2047])
def test_one_over_long_text_costs_two_calls(place):
    texts = [f"text number {i}" for i in range(2048)]
    texts[place] = LONG
    with simulated({"a": context}, ONE) as run:
        asked = run.ask("m", texts, timeout=60)
        run.world.run()
    assert asked.error.status == 400
    assert len(run.calls()) == asked.error.attempts == 2
    assert not asked.error.purchases


def test_over_long_texts_alone_cost_two_calls():
    with simulated({"a": context}, ONE) as run:
        asked = run.ask("m", [f"{LONG}{i}" for i in range(256)], timeout=60)
        run.world.run()
    assert asked.error.status == 400
    assert len(run.calls()) == 2
    (pool,) = run.dispatcher._pools.values()
    assert pool.estimate.correction == 1.0  # nothing was learned from it


@pytest.mark.parametrize("size", [2, 3, 7, 64])
@pytest.mark.parametrize("longest", [0, 1, -1])
def test_call_that_is_too_large_as_a_whole_is_halved_after_its_longest_text(size, longest):
    texts = [f"text {i:03}" for i in range(size)]
    texts[longest] += " and more"
    limit = max(20, sum(map(len, texts)) // 3)
    with simulated({"a": whole_call(limit)}, ONE) as run:
        asked = run.ask("m", texts, timeout=60)
        run.to_the_end()
    assert asked.outcome
    first, second, *_ = run.calls()
    assert list(first.items) == texts
    assert list(second.items) == [texts[longest]]
    assert all(call.began >= second.ended for call in run.calls()[2:])


@pytest.mark.parametrize(
    ("refusing", "is_learned"), [(context, False), (whole_call(800), True)], ids=["text", "call"]
)
def test_calls_get_smaller_for_a_call_that_was_too_large_and_not_for_a_text(
    refusing, is_learned, monkeypatch
):
    """Requests share calls. A text is over-long now and then, or a whole call too large."""
    limited = {"m": [{"provider": "a", "max_tokens": 5000}]}
    raised = []
    monkeypatch.setattr(TokenEstimate, "raise_correction", lambda self: raised.append(self))
    with simulated({"a": refusing}, limited, concurrency=1) as run:
        for i in range(400):
            run.ask("m", [f"text {i:03}, of some more words"], after=i * 0.001)
        for i in range(0 if is_learned else 8):
            run.ask("m", [f"{LONG}{i}"], after=i * 0.05)
        run.world.run()
    assert all(asked.outcome for asked in run.asked[:400])
    assert bool(raised) == is_learned


def test_calls_get_smaller_also_where_a_part_of_each_waits_for_the_next_one():
    """A third of a call that is far too large waits again: the next call is too large with it."""
    limited = {"m": [{"provider": "a", "max_tokens": 5000}]}
    with simulated({"a": whole_call(6000)}, limited, concurrency=1, waiting=6000) as run:
        for i in range(6000):
            run.ask("m", [f"text {i:04}, of some more words"], after=i * 1e-5, timeout=60)
        run.world.run()
    assert all(asked.outcome for asked in run.asked)
    assert sum(call.error is not None for call in run.calls()) < 40


def test_texts_of_a_request_that_was_too_large_share_calls_again():
    """None of them is at fault: each has been served in a smaller call."""
    texts = [f"text {i:04}" for i in range(400)]
    with simulated({"a": whole_call(2000)}, ONE, concurrency=1) as run:
        run.ask("m", texts)
        for i in range(100):
            run.ask("m", [texts[i]], after=10 + i * 0.001)
        run.to_the_end()
        assert not run.errors()
        assert sum(call.began > 1010 for call in run.calls()) <= 5


def test_deadline_ends_a_request_whose_longest_text_gets_no_answer():
    def stuck(world, call):
        return (0.02, Rejected("too large", too_large=True)) if len(call.items) > 1 else (1e6, None)

    with simulated({"a": stuck}, ONE, timeout=300) as run:
        asked = run.ask("m", ["one", "three", "two"], timeout=5)
        run.to_the_end()
    assert asked.code == "timeout"


def test_halving_is_charged_to_the_retry_budget_after_some():
    """Its provider takes one text a call, and no setting says so."""

    def single(world, call):
        is_refused = len(call.items) > 1
        return 0.02, Rejected("too large", too_large=True) if is_refused else None

    with simulated({"a": single}, ONE) as run:
        asked = run.ask("m", [f"text {i}" for i in range(512)], timeout=60)
        run.world.run()
    refused = [call for call in run.calls() if call.error is not None]
    assert asked.error.status == 400
    assert "too large" in asked.error.message
    assert MAX_FREE_HALVINGS < len(refused) < 150


@given(st.lists(st.integers(1, 9), min_size=2, max_size=40))
def test_smaller_parts_hold_each_item_once_and_first_the_largest(tokens):
    largest, *others = cuts_of_halves(tokens, is_largest_served=False)
    assert tokens[slice(*largest)] == [max(tokens)]
    halves = cuts_of_halves(tokens, is_largest_served=True)
    for cuts in ([largest, *others], halves):
        assert all(start < stop for start, stop in cuts)
        assert sorted(i for cut in cuts for i in range(*cut)) == list(range(len(tokens)))
        assert max(stop - start for start, stop in cuts) <= (len(tokens) + 1) // 2


def test_more_tokens_are_expected_once_all_smaller_parts_are_served():
    estimate = TokenEstimate()
    refusal = SizeRefusal(2, estimate)
    refusal.record_served()
    assert estimate.correction == 1.0
    refusal.record_served()
    assert estimate.correction > 1.0


def test_calls_that_were_too_large_leave_the_quota_of_others_as_it_was():
    made = deployment("a", max_tokens=1000, tokens_per_minute=1000)
    of = pool(made)
    before = of.estimate.expect(["x" * 300])
    assert made.fits(1, 1000)
    of.estimate.raise_correction()
    assert of.estimate.expect(["x" * 300]) == before
    assert made.max_call_tokens == 800
    assert made.fits(1, 800)
    assert not made.fits(1, 801)
    assert made.quota_wait_s(Expected(900, 900), T) == 0
