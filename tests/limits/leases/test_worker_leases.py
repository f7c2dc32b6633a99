"""Quotas leased of a real Valkey: never passed by any schedule, and used."""

import random

import pytest

from tests.limits.leases.fleet import Fleet, Network

JOINED_S = 6  # until all workers of a new store have leases


def saturate(fleet, tokens=1):
    """Let workers have more calls than the quota allows, all the time."""
    for worker in fleet.workers:
        fleet.demand(worker, 10**6, tokens)


@pytest.mark.no_cover  # see `tests.support.ordering`
@pytest.mark.parametrize(
    ("workers", "requests", "tokens"),
    [(1, 60, None), (4, 100, None), (40, 36, None), (16, 600, None), (8, None, 10_000)],
)
def test_quota_is_used_and_never_passed_under_load(redis, workers, requests, tokens):
    fleet = Fleet(redis, workers, requests, tokens)
    fleet.run(JOINED_S)
    saturate(fleet, 1 if tokens is None else 40)
    fleet.run(125)
    calls, sum_of_tokens = fleet.most()
    used_calls, used_tokens = fleet.sent_between(70, 130)
    if requests is not None:
        assert calls <= requests
        assert used_calls >= 0.95 * requests
    if tokens is not None:
        assert sum_of_tokens <= tokens
        assert used_tokens >= 0.95 * tokens


@pytest.mark.no_cover  # see `tests.support.ordering`
@pytest.mark.parametrize("seed", range(6))
def test_quota_is_kept_with_any_load_and_any_fault(redis, seed):
    """Workers die and start, questions and answers are lost or late, the store is away.

    None starts meanwhile: it would not know how many others there are (docs/dispatch.md).
    """
    rng = random.Random(seed)
    start = rng.uniform(20, 60)
    away = (start, start + rng.choice([0, 2, 20, 50]))
    network = Network(rng.choice([0.002, 0.1]), rng.choice([0, 0.05]), rng.choice([0, 0.1]), away)
    workers, requests = rng.choice([3, 16]), rng.choice([30, 200])
    fleet = Fleet(redis, workers, requests, seed=seed, network=network, per_host=4)
    for _ in range(60):
        worker = rng.choice(fleet.workers)
        fleet.demand(worker, rng.choice([1, 1, 5, 50]))
        if rng.random() < 0.05:
            rng.choice(fleet.workers).alive = False
            if not away[0] - 2 < fleet.now < away[1]:
                fleet.add_worker()
        fleet.run(rng.choice([0.01, 1, 6]))
    assert fleet.most()[0] <= requests
    assert len(fleet.sent) > requests / 2


def test_quota_is_used_again_after_the_store_was_away(redis):
    fleet = Fleet(redis, 8, 240, network=Network(away=(40, 60)))
    fleet.run(JOINED_S)
    saturate(fleet)
    fleet.run(200)
    assert fleet.most()[0] <= 240
    assert fleet.sent_between(30, 90)[0] >= 0.4 * 240
    assert fleet.sent_between(130, 190)[0] >= 0.95 * 240


def test_quota_is_kept_when_the_store_loses_its_data(redis):
    fleet = Fleet(redis, 8, 240)
    fleet.run(JOINED_S)
    saturate(fleet)
    fleet.run(40)
    redis.flushall()
    fleet.run(100)
    assert fleet.most()[0] <= 240
    assert fleet.sent_between(80, 140)[0] >= 0.8 * 240


def test_lease_of_a_dead_worker_is_lent_again(redis):
    fleet = Fleet(redis, 8, 240)
    fleet.run(JOINED_S)
    saturate(fleet)
    fleet.run(30)
    for worker in fleet.workers[:4]:
        worker.alive = False
    fleet.run(200)
    assert fleet.most()[0] <= 240
    assert fleet.sent_between(160, 220)[0] >= 0.95 * 240


def test_idle_worker_lends_its_part(redis):
    fleet = Fleet(redis, 8, 240)
    fleet.run(JOINED_S)
    fleet.demand(fleet.workers[0], 10**6)
    fleet.run(140)
    assert fleet.sent_between(80, 140)[0] >= 0.95 * 240


def test_lone_call_does_not_wait_when_the_minute_is_free(redis):
    fleet = Fleet(redis, 8, 240)
    fleet.run(JOINED_S)
    for worker in fleet.workers:
        fleet.demand(worker, 1)
        fleet.run(1)
        assert fleet.sent[-1][0] >= fleet.now - 1
        assert fleet.sent[-1][0] <= fleet.now - 0.9
