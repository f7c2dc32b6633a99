"""Billed tokens are bought once, by one request; ``usage`` counts every item."""

import random
from collections import Counter

import pytest

from app.dispatch.deployments.accounts import MAX_KEYS_REMEMBERED, UnpaidTokens
from app.dispatch.deployments.deployment import Agreement
from app.domain import Flow
from tests.dispatch.arrangements import codes, models
from tests.dispatch.asking import Asking
from tests.dispatch.members import POISON, failing, good
from tests.dispatch.parts import T, deployment, vectors
from tests.dispatch.simulator import simulated

TEXT = "some text of forty characters, more or less"


def purchases(asked):
    """Return the tokens that a request bought, by deployment."""
    made = getattr(asked.outcome or asked.error, "purchases", None)
    assert made is not None, "the answer does not say what was bought"
    return dict(made)


def bought(asked):
    return sum(purchases(asked).values())


def billed(run):
    return sum(call.total for call in run.calls())


def test_duplicates_and_joiners_buy_nothing():
    with simulated({"a": good(1)}, models("a"), caching=True) as run:
        first = run.ask("m", [TEXT, TEXT, TEXT])
        joined = run.ask("m", [TEXT], after=0.5)
        run.to_the_end()
        assert first.outcome.prompt_tokens == 3 * joined.outcome.prompt_tokens
        assert (bought(first), bought(joined)) == (billed(run), 0)
        assert purchases(first) == {("a", "m"): billed(run)}


def test_cached_items_are_not_bought():
    with simulated({"a": good(0.1)}, models("a"), caching=True) as run:
        first, again = run.ask("m", [TEXT]), run.ask("m", [TEXT, "new"], after=10)
        run.to_the_end()
        assert again.outcome.cache == "partial"
        assert bought(first) == run.calls()[0].total
        assert bought(again) == run.calls()[1].total


def test_without_caching_repeated_items_are_bought_twice():
    with simulated({"a": good(0.1)}, models("a")) as run:
        asked = run.ask("m", [TEXT, TEXT])
        run.world.run()
        assert bought(asked) == billed(run) == asked.outcome.prompt_tokens


def test_vectors_that_are_dropped_for_drift_are_bought():
    """The deployment is ejected while its call is in flight."""
    tiers = {"m": [{"provider": "a"}, {"provider": "b", "tier": 1}]}
    gone = Agreement(0.1, 0.2, "code", 0.0, has_drifted=True)
    with simulated({"a": good(1), "b": good(1)}, tiers) as run:
        asked = run.ask("m", [TEXT])
        a = run.deployment("a")
        run.world.at(1000.5, lambda: run.dispatcher.set_agreement(a, gone, ejects=True))
        run.to_the_end()
        dropped, kept = run.calls()
        assert purchases(asked) == {("a", "m"): dropped.total, ("b", "m"): kept.total}
        assert asked.outcome.prompt_tokens == kept.total


def test_parts_are_bought_from_the_deployment_that_embedded_them():
    with simulated(dict.fromkeys("ab", good(0.1)), models("a", "b", max_inputs=1)) as run:
        asked = run.ask("m", [f"{TEXT} {i}" for i in range(20)])
        run.to_the_end()
        assert purchases(asked) == {
            (name, "m"): sum(call.total for call in run.calls(name)) for name in "ab"
        }


@pytest.mark.parametrize("caching", [False, True])
def test_failed_request_reports_its_purchases(caching):
    options = {"caching": caching, "concurrency": 4}  # the bad text leaves last
    with simulated({"a": good(0.1)}, models("a", max_inputs=1), **options) as run:
        asked = run.ask("m", [*(f"{TEXT} {i}" for i in range(50)), POISON])
        run.world.run()
        assert codes([asked]) == {"BadRequest": 1}
        assert 0 < bought(asked) == billed(run)


def test_a_failed_request_that_reached_no_provider_bought_nothing():
    with simulated({"a": failing(1)}, models("a")) as run:
        asked = run.ask("m", [TEXT])
        run.to_the_end()
        assert bought(asked) == 0


@pytest.mark.parametrize("caching", [False, True])
def test_request_that_leaves_a_shared_call_is_paid_by_the_next_of_its_key(caching):
    one, other = Flow("one", 1.0, "default", ""), Flow("other", 1.0, "default", "")
    with simulated({"a": good(1)}, models("a"), caching=caching, concurrency=1) as run:
        run.ask("m", ["first"])
        left = run.ask("m", [f"{TEXT} of one"], after=0.1, timeout=1.5, flow=one)
        shared = run.ask("m", [TEXT], after=0.2, flow=other)
        unconcerned = run.ask("m", ["later"], after=9, flow=other)
        following = run.ask("m", ["later still"], after=12, flow=one)
        once_more = run.ask("m", ["at last"], after=15, flow=one)
        run.to_the_end()
        assert left.code == "timeout"
        _, merged, *later = run.calls()
        assert len(merged.items) == 2
        assert bought(left) == 0
        assert bought(shared) == shared.outcome.prompt_tokens
        assert bought(unconcerned) == later[0].total
        assert bought(following) == later[1].total + merged.total - bought(shared)
        assert bought(once_more) == later[2].total


def test_vectors_that_come_as_their_request_ends_are_left_to_the_next_one():
    """Another thread ends the request between two locks of its call's thread."""
    asking = Asking(deployment("a"))
    asking.job.advance(T)
    (one,) = asking.take()
    assert one.deployment.queue.finish_attempt(one, 1)
    asking.job.cancel(T)
    asking.job.receive(one, vectors([3]), T)
    assert asking.pool.unpaid.take(one.flow.key) == {one.deployment.source: 3}
    assert asking.pool.unpaid.take(one.flow.key) == {}


def test_unpaid_tokens_of_a_bounded_number_of_keys_are_remembered():
    unpaid = UnpaidTokens()
    for number in range(MAX_KEYS_REMEMBERED + 1):
        unpaid.add(f"{number}", ("a", "m"), number)
    assert unpaid.take("0") == {}
    assert unpaid.take("1") == {("a", "m"): 1}


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("caching", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_purchases_equal_billed_tokens(seed, caching, merge):
    """Merged calls, duplicates, joiners, splits and failures; patient callers."""
    dice = random.Random(seed)
    members = {"a": failing(0.2), "b": good()}
    options = {"seed": seed, "caching": caching, "merge": merge, "concurrency": 2}
    with simulated(members, models("a", "b", max_inputs=3), **options) as run:
        for i in range(200):
            size = dice.choice([1, 1, 2, 8])
            items = [f"{TEXT} {dice.randint(0, 60)}" for _ in range(size)]
            run.ask("m", items, after=i * 0.02)
        run.world.run()
        total = Counter()
        for asked in run.asked:
            total.update(purchases(asked))
        assert total == {(name, "m"): sum(call.total for call in run.calls(name)) for name in "ab"}
