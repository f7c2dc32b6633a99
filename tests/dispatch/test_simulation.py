"""Dispatch as a whole, in virtual time: invariants for any behaviour of providers.

`simulator` checks them at the end of each simulation.
"""

import random
from collections import Counter

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests.dispatch.members import (
    POISON,
    between,
    dead,
    failing,
    flapping,
    good,
    lying,
    refusing,
    silent,
    throttling,
)
from tests.dispatch.simulator import simulated

#: A seed determines a simulation, so shrinking is useless.
SIMULATED = {
    "deadline": None,
    "phases": [Phase.explicit, Phase.reuse, Phase.generate],
    "suppress_health_check": [HealthCheck.too_slow],
}
KINDS = {
    "quick": lambda dice: good(0.01),
    "slow": lambda dice: good(3),
    "failing": lambda dice: failing(dice.choice([0.1, 0.3, 0.7, 1])),
    "dead": lambda dice: dead,
    "silent": lambda dice: silent,
    "refusing": lambda dice: refusing,
    "lying": lambda dice: lying,
    "throttling": lambda dice: throttling(dice.choice([0, 1, 10]), dice.choice([None, 0.5, 30])),
    "flapping": lambda dice: flapping(
        dice.uniform(0.5, 5), dice.uniform(0.5, 5), dice.choice([dead, silent, lying, refusing])
    ),
}


def deployment(dice, member):
    """Settings of a deployment, some of them with limits of its own."""
    settings = {"provider": member, "weight": dice.choice([1, 3]), "tier": dice.choice([0, 0, 1])}
    for name, values in (
        ("max_inputs", [2, 5]),
        ("max_tokens", [10]),
        ("concurrency", [1, 2]),
        ("requests_per_minute", [20, 200]),
        ("tokens_per_minute", [200]),
    ):
        if dice.random() < 0.25:
            settings[name] = dice.choice(values)
    return settings


def arrangement(dice, kinds):
    """Members (some ill for a while only), and models that share them."""
    members = {}
    for name, kind in zip("abcd", kinds, strict=False):
        ill, start = KINDS[kind](dice), 1000 + dice.uniform(0, 10)
        stop = start + dice.uniform(1, 30) if dice.random() < 0.6 else float("inf")
        members[name] = between(start, stop, ill, good())
    models = {
        model: [deployment(dice, name) for name in dice.sample(sorted(members), number)]
        for model, number in (("m", len(members)), ("n", dice.randint(1, len(members))))
    }
    return members, models


def ask_at_random(run, dice, number, caching):
    after, every = 0.0, dice.choice([0.001, 0.01, 0.1])
    for i in range(number):
        after += dice.expovariate(1 / every)
        size = dice.choice([1, 1, 2, 8])
        items = [f"{i}-{k}" if not caching else f"s{dice.randint(0, 40)}" for k in range(size)]
        if dice.random() < 0.03:
            items[-1] = f"{POISON}{i}"
        run.ask(dice.choice("mn"), items, after=after, timeout=dice.choice([1, 5, 60, 600]))


@settings(max_examples=100, **SIMULATED)
@given(
    kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4),
    seed=st.integers(0, 2**32),
    merge=st.booleans(),
    caching=st.booleans(),
    hedge=st.booleans(),
    slots=st.sampled_from([1, 2, 4, 64]),
    waiting=st.sampled_from([5, 1000]),
)
@example(  # a failure without an available deployment was retried later without cost
    kinds=["failing", "throttling", "lying"],
    seed=0,
    merge=False,
    caching=False,
    hedge=False,
    slots=1,
    waiting=5,
)
@example(  # a request got the 400 of a batch when the other deployment's queue was full
    kinds=["dead", "dead"],
    seed=2922478360,
    merge=True,
    caching=False,
    hedge=False,
    slots=2,
    waiting=5,
)
@example(  # another deployment was called with a hundredth of a second left, and another …
    kinds=["quick", "slow"],
    seed=1760301067,
    merge=True,
    caching=False,
    hedge=False,
    slots=64,
    waiting=1000,
)
@example(  # two attempts of a part waited for a slot, and both got one
    kinds=["silent", "slow", "refusing", "slow"],
    seed=3478333130,
    merge=False,
    caching=False,
    hedge=False,
    slots=2,
    waiting=1000,
)
@example(  # a third deployment was called as soon as the second had got a slot, beside a late call
    kinds=["flapping", "silent", "flapping"],
    seed=2442360760,
    merge=False,
    caching=False,
    hedge=False,
    slots=2,
    waiting=5,
)
@example(  # another deployment was called beside an attempt that waited for a test of a bisection
    kinds=["failing", "slow", "refusing", "flapping"],
    seed=900146888,
    merge=True,
    caching=False,
    hedge=False,
    slots=4,
    waiting=5,
)
@example(  # the check of the budget counted the calls after a 429, which cost nothing
    kinds=["throttling", "silent", "failing"],
    seed=234242812,
    merge=True,
    caching=False,
    hedge=False,
    slots=64,
    waiting=5,
)
def test_invariants_hold_under_any_provider_faults(
    kinds, seed, merge, caching, hedge, slots, waiting
):
    dice = random.Random(seed)
    members, models = arrangement(dice, kinds)
    options = {"caching": caching, "hedge": hedge, "waiting": waiting}
    with simulated(members, models, seed=seed, merge=merge, concurrency=slots, **options) as run:
        ask_at_random(run, dice, 100, caching)
        run.to_the_end()
        if not caching:
            run.check_budget()


@settings(max_examples=20, **SIMULATED)
@given(
    kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4),
    seed=st.integers(0, 2**32),
)
def test_all_requests_succeed_two_minutes_after_any_fault(kinds, seed):
    """No fault excludes a deployment for ever."""
    dice = random.Random(seed)
    members = {
        n: between(0, 1060, KINDS[k](dice), good()) for n, k in zip("abcd", kinds, strict=False)
    }
    with simulated(members, {"m": [{"provider": n} for n in members]}, seed=seed) as run:
        for i in range(300):
            run.ask("m", [f"trouble {i}"], after=i * 0.2, timeout=5)
        afterwards = [run.ask("m", [f"after {i}"], after=180 + i * 0.1) for i in range(100)]
        run.to_the_end()
        assert not [asked.code for asked in afterwards if asked.error]
        slowest = max(asked.heard - asked.at for asked in afterwards)
        assert slowest < 0.3


@settings(max_examples=15, **SIMULATED)
@given(
    seed=st.integers(0, 2**32),
    slots=st.sampled_from([1, 2, 4]),
    merge=st.booleans(),
    caching=st.booleans(),
)
def test_without_faults_each_item_is_sent_and_billed_once(seed, slots, merge, caching):
    dice = random.Random(seed)
    models = {
        "m": [{"provider": "a", "max_inputs": 7}, {"provider": "b"}],
        "n": [{"provider": "a"}],
    }
    members = {"a": good(0.02), "b": good(0.03)}
    options = {"merge": merge, "caching": caching}
    with simulated(members, models, seed=seed, concurrency=slots, **options) as run:
        after = 0.0
        for i in range(150):
            after += dice.expovariate(20)
            items = [f"{i}-{k}" for k in range(dice.randint(1, 20))]
            run.ask(dice.choice("mn"), items, after=after)
            if caching:
                run.ask(run.asked[-1].request.model, items[::-1], after=after + dice.random() / 20)
        run.to_the_end()
        sent = Counter(str(item) for call in run.calls() for item in call.items)
        assert set(sent.values()) == {1}
        assert not run.errors()
        if not caching:
            billed = sum(call.total for call in run.calls())
            assert sum(asked.outcome.prompt_tokens for asked in run.asked) == billed


@settings(max_examples=20, **SIMULATED)
@given(seed=st.integers(0, 2**32), guilty=st.sets(st.integers(0, 39), max_size=5))
def test_only_requests_with_bad_texts_are_refused(seed, guilty):
    """A refused merged call is bisected until the bad request is found."""
    with simulated({"a": good()}, {"m": [{"provider": "a"}]}, seed=seed, concurrency=1) as run:
        for i in range(40):
            run.ask("m", [f"{i}", f"{POISON}{i}" if i in guilty else f"{i}b"], after=i * 0.001)
        run.to_the_end()
        assert {i for i, asked in enumerate(run.asked) if asked.error} == guilty
        assert all(asked.error.status == 400 for asked in run.asked if asked.error)
        assert sum(asked.outcome is not None for asked in run.asked) == 40 - len(guilty)
        assert len(run.calls()) <= 2 + 12 * len(guilty)  # by halves: not one by one
