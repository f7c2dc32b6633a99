"""Texts that providers refuse hardly delay good texts that are merged with them."""

import pytest

from tests.dispatch.arrangements import codes, later_than, load, models
from tests.dispatch.members import POISON, good
from tests.dispatch.simulator import simulated

SECONDS = 15
PER_SECOND = 400  # good texts; two slots of 0.05 s and 64 inputs take 2,560


def ask(run, bad_per_second, bad_text):
    """Request good and bad texts for 15 seconds; return the good requests."""
    innocent = load(run, PER_SECOND * SECONDS, 1 / PER_SECOND, timeout=30)
    for i in range(bad_per_second * SECONDS):
        run.ask("m", [bad_text(i)], after=i / bad_per_second, timeout=30)
    return innocent


def refused_together(run, after=0.0):
    """Return the refused calls of more than one item."""
    return [
        call
        for call in run.calls()
        if call.error is not None and len(call.items) > 1 and call.began > 1000 + after
    ]


@pytest.mark.parametrize(("bad_per_second", "seconds"), [(1, 0.5), (3, 0.5), (5, 0.5), (10, 1.0)])
def test_new_bad_texts_delay_at_most_one_percent_of_good_texts(bad_per_second, seconds):
    """No good text is refused. Late means over 0.5 s, or 1 s with 2.4 % bad texts, all different.

    A call takes 0.05 s, a refusal 0.01 s. Binary splitting (Hwang 1972: if the first half of a
    refused batch is good, the other half is split without a call; if it is bad, the other half
    returns to the front of the queue) keeps all below 0.9 s with two slots. Sending both halves
    would not: 10 bad texts a second would need more than two slots.
    """
    with simulated({"a": good(0.05)}, models("a", max_inputs=64), concurrency=2) as run:
        innocent = ask(run, bad_per_second, lambda i: f"{POISON}{i}")
        run.to_the_end()
        assert codes(innocent) == {"ok": PER_SECOND * SECONDS}
        assert len(later_than(seconds, innocent)) <= PER_SECOND * SECONDS / 100


def test_repeated_bad_texts_are_sent_alone():
    """Five texts, ten requests a second; after one refusal alone each is remembered."""
    with simulated({"a": good(0.05)}, models("a", max_inputs=64), concurrency=2) as run:
        innocent = ask(run, 10, lambda i: f"{POISON}{i % 5}")
        run.world.run()
        assert codes(innocent) == {"ok": PER_SECOND * SECONDS}
        assert not refused_together(run, after=3)
        assert not later_than(0.5, [one for one in innocent if one.at > 1003])


def test_refused_text_is_remembered_in_any_request():
    """It is refused as an item of one request, then sent in others, beside good items."""
    with simulated({"a": good(0.05)}, models("a", max_inputs=64), concurrency=1) as run:
        load(run, 2000, 0.01)
        first = run.ask("m", [POISON], after=1)
        again = [run.ask("m", ["good", POISON], after=5 + i) for i in range(5)]
        run.world.run()
        assert codes([first, *again]) == {"BadRequest": 6}
        others = [c for c in refused_together(run, after=4) if set(c.items) - {"good", POISON}]
        assert not others


def test_remembered_bad_text_is_still_sent_to_the_provider():
    """The provider may accept it later, and the caller gets the provider's message."""
    with simulated({"a": good(0.05)}, models("a"), concurrency=1) as run:
        for i in range(20):
            run.ask("m", [POISON], after=i * 0.5)
        run.world.run()
        assert len(run.calls()) == 20


def test_several_bad_texts_in_a_batch_are_refused_and_others_served():
    with simulated({"a": good(0.05)}, models("a"), concurrency=2) as run:
        load(run, 4, 0.001)
        crowd = [
            run.ask("m", [f"{POISON}{i}" if i % 7 == 0 else f"{i}"], after=0.01 + i * 0.0001)
            for i in range(70)
        ]
        run.to_the_end()
        assert codes(crowd) == {"ok": 60, "BadRequest": 10}
        assert len(run.calls()) <= 6 + 10 * 11  # log(70) / log(3 / 2) tests for each of them
