"""Clients that leave while their requests wait: nothing of those is left, and others are served."""

import random

import pytest

from tests.dispatch.arrangements import codes, models
from tests.dispatch.members import engine, failing, good, silent
from tests.dispatch.simulator import simulated

MEMBERS = [engine(lambda now: 2, lambda items: 0.4), failing(0.3, 1.0), silent, good(1.5)]


def leaves_after(rng, mean_s):
    """Draw the seconds after which a client leaves; None for half of all clients, which stay."""
    return rng.expovariate(1 / mean_s) if rng.random() < 0.5 else None


@pytest.mark.parametrize("seed", range(12))
def test_clients_leave_at_any_time(seed):
    rng, caching = random.Random(seed), seed % 2 == 0
    members = {"a": rng.choice(MEMBERS), "b": rng.choice(MEMBERS)}
    options = {
        "concurrency": rng.choice([1, 2, 8]),
        "merge": rng.random() < 0.6,
        "max_inputs": rng.choice([1, 4, 64]),
        "hedge": rng.random() < 0.3,
    }
    with simulated(members, models("a", "b"), caching=caching, seed=seed, **options) as run:
        for number in range(100):
            name = rng.randrange(60) if caching else number
            items = [f"{name} {item}" for item in range(rng.choice([1, 1, 1, 20]))]
            run.ask(
                "m",
                items,
                after=rng.random() * 12,
                timeout=rng.choice([5, 60]),
                leaves_after=leaves_after(rng, 3.0),
            )
        run.to_the_end()
        assert codes(run.asked)["client_closed_request"]


def test_request_whose_client_has_left_gets_no_call():
    with simulated({"a": good(3.0)}, models("a"), concurrency=1, merge=False) as run:
        rng = random.Random(2)
        asked = [
            run.ask("m", [f"{number}"], after=number / 10, leaves_after=leaves_after(rng, 1.0))
            for number in range(10)
        ]
        run.to_the_end()
        left = {one.request.items[0] for one in asked if one.error is not None}
        sent = {item for call in run.calls() for item in call.items}
        assert len(left) >= 3
        assert len(left & sent) <= 1  # the one that was in flight when its client left
