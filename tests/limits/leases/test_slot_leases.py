"""Slots leased of a Valkey, and of a table: never more calls than the setting, and all used."""

import itertools
import random

import pytest

from app.dispatch.queue.leased_slots import LeasedSlotQueue, SlotLeaseRequest
from app.limits.leases.server_leases import ask_for_slots
from app.limits.leases.slot_table import SlotTable
from tests.limits.leases.fleet import START, Network
from tests.limits.leases.slot_fleet import MAX_CALL_S, HostTable, SlotFleet

JOINED_S = 4  # until all workers of a new store have leases


@pytest.fixture(params=["server", "host"])
def store(request):
    """What leases."""
    return request.getfixturevalue("redis") if request.param == "server" else HostTable()


@pytest.mark.parametrize(("workers", "slots"), [(2, 4), (4, 10), (4, 64), (16, 64), (64, 64)])
def test_idle_workers_lend_their_slots_to_a_busy_one(store, workers, slots):
    fleet = SlotFleet(store, workers, slots)
    fleet.run(JOINED_S)
    fleet.demand(fleet.workers[0], 4 * slots, backlog=True)
    fleet.run(2)
    assert fleet.used(10)[0] >= 0.95
    assert fleet.most <= slots


@pytest.mark.parametrize(("workers", "slots"), [(2, 4), (4, 10), (16, 64), (8, 8)])
def test_busy_workers_share_the_slots_evenly(store, workers, slots):
    fleet = SlotFleet(store, workers, slots)
    fleet.run(JOINED_S)
    for worker in fleet.workers:
        fleet.demand(worker, 4 * slots, backlog=True)
    fleet.run(2)
    used = fleet.used(10)
    assert sum(used) >= 0.95
    assert max(used) - min(used) <= 1.1 / slots
    assert fleet.most <= slots


@pytest.mark.no_cover  # see `tests.support.ordering`
@pytest.mark.parametrize(("workers", "slots"), [(2, 4), (16, 32)])
def test_call_at_an_idle_worker_gets_a_slot_of_busy_ones_within_a_second(store, workers, slots):
    fleet = SlotFleet(store, workers, slots)
    fleet.run(JOINED_S)
    for worker in fleet.workers[1:]:
        fleet.demand(worker, 4 * slots, backlog=True)
    for _ in range(6):
        fleet.run(15)  # it needs no slot any more
        fleet.demand(fleet.workers[0], 1)
    fleet.run(2)
    assert fleet.longest_wait(fleet.workers[0]) < 1
    assert fleet.most <= slots


def test_worker_with_calls_now_and_then_keeps_a_slot(store):
    fleet = SlotFleet(store, 4, 8)
    fleet.run(JOINED_S)
    fleet.demand(fleet.workers[1], 100, backlog=True)
    for _ in range(20):
        fleet.demand(fleet.workers[0], 1, (0.01, 0.01))
        fleet.run(2)
    assert fleet.longest_wait(fleet.workers[0], after=JOINED_S + 3) == 0


@pytest.mark.no_cover  # see `tests.support.ordering`
@pytest.mark.parametrize(("workers", "slots"), [(5, 2), (16, 3), (4, 1)])
def test_more_workers_than_slots_take_turns(store, workers, slots):
    fleet = SlotFleet(store, workers, slots)
    fleet.run(JOINED_S)
    for worker in fleet.workers:
        fleet.demand(worker, 50, (0.02, 0.05), backlog=True)
    fleet.run(2)
    used = fleet.used(60)
    assert fleet.most <= slots
    assert min(used) >= 0.7 * max(used)
    assert sum(used) >= 0.6
    began = fleet.now
    fleet.run(30)
    for worker in fleet.workers:
        starts = [at for at, one, _ in fleet.waits if one is worker and at >= began]
        assert starts
        gaps = [later - at for at, later in itertools.pairwise(starts)]
        assert max(gaps) < 2 + workers / slots * 0.5


def test_lone_call_without_a_slot_gets_one_within_a_second(store):
    """At once where one is free, else when an idle worker has returned one."""
    fleet = SlotFleet(store, 16, 2)
    fleet.run(JOINED_S)
    for worker in fleet.workers:
        fleet.demand(worker, 1)
        fleet.run(1)
    waits = [wait for _, _, wait in fleet.waits]
    assert len(waits) == 16
    assert max(waits) < 0.7
    assert waits[0] < 0.02


@pytest.mark.no_cover  # see `tests.support.ordering`
@pytest.mark.parametrize("seed", range(12))
def test_slots_are_kept_with_any_load_and_any_fault(store, seed):
    """Workers die and start, questions and answers are lost or late, the store is away."""
    rng = random.Random(seed)
    start = rng.uniform(10, 30)
    away = (start, start + rng.choice([0, 2, 8, 30]))
    network = Network(rng.choice([0.002, 0.1]), rng.choice([0, 0.05]), rng.choice([0, 0.1]), away)
    workers, slots = rng.choice([(3, 4), (4, 16), (16, 16)])
    fleet = SlotFleet(store, workers, slots, seed=seed, network=network, per_host=4)
    call_s = rng.choice([(0.01, 0.2), (0.1, MAX_CALL_S)])
    for _ in range(80):
        worker = rng.choice(fleet.workers)
        fleet.demand(worker, rng.choice([1, 1, 5, 30]), call_s)
        is_away = away[0] - 2 < fleet.now < away[1]
        if rng.random() < 0.05 and not is_away:
            rng.choice(fleet.workers).alive = False
            fleet.add_worker()
        fleet.run(rng.choice([0.01, 0.3, 1, 2]))
    # Where the store does not answer, a worker that had lent all its slots uses one at once.
    assert fleet.most <= slots + workers - 1
    assert len(fleet.waits) > 50


def test_slots_are_kept_when_the_store_loses_its_data(store):
    fleet = SlotFleet(store, 4, 16)
    fleet.run(JOINED_S)
    for worker in fleet.workers[:2]:
        fleet.demand(worker, 100, (0.1, 1), backlog=True)
    fleet.run(5)
    store.flushall()
    fleet.add_worker()
    for worker in fleet.workers[2:]:
        fleet.demand(worker, 100, (0.1, 1), backlog=True)
    assert sum(fleet.used(10)) >= 0.9
    assert fleet.most <= 16


def test_each_worker_has_its_share_while_the_store_is_away(store):
    fleet = SlotFleet(store, 4, 16, network=Network(away=(10, 60)), per_host=4)
    fleet.run(JOINED_S)
    fleet.demand(fleet.workers[0], 100, backlog=True)
    fleet.run(8)
    for worker in fleet.workers[1:]:
        fleet.demand(worker, 100, backlog=True)
    fleet.run(2 * MAX_CALL_S + 10)
    assert fleet.used(10) == pytest.approx([0.25] * 4, abs=0.02)
    assert fleet.most <= 16
    fleet.run(25)
    assert sum(fleet.used(5)) >= 0.95


@pytest.mark.no_cover  # see `tests.support.ordering`
def test_slots_of_a_dead_worker_are_lent_again(store):
    fleet = SlotFleet(store, 4, 16)
    fleet.run(JOINED_S)
    fleet.demand(fleet.workers[0], 100, (0.1, MAX_CALL_S), backlog=True)
    fleet.run(5)
    fleet.workers[0].alive = False
    fleet.demand(fleet.workers[1], 100, backlog=True)
    fleet.run(80)
    assert fleet.used(5)[1] >= 0.95
    assert fleet.most <= 16


def test_question_that_comes_after_a_later_one_changes_nothing(redis):
    """It names fewer slots than the worker keeps: others would get them."""
    queue = LeasedSlotQueue(4, 1, MAX_CALL_S)

    def ask(worker, number, kept):
        asked = SlotLeaseRequest(0.0, number, kept, 4, True, True, False)
        return ask_for_slots(redis, "slots", worker, queue, asked, START + at)

    at = 0.0
    ask("a", 1, 0)
    at = 2.5
    ask("a", 3, 4)
    assert ask("a", 2, 0) is None
    assert ask("b", 1, 0).slots == 0


@pytest.mark.no_cover  # see `tests.support.ordering`
def test_calls_cost_no_exchange_of_their_own(store):
    """Each worker makes 200 calls a second, more wait, and it makes up to 6 exchanges."""
    fleet = SlotFleet(store, 4, 8)
    fleet.run(JOINED_S)
    for worker in fleet.workers:
        fleet.demand(worker, 10, (0.01, 0.01), backlog=True)
    fleet.run(2)
    asked, calls = fleet.asked, len(fleet.waits)
    fleet.run(10)
    assert len(fleet.waits) - calls >= 0.95 * 8 * 100 * 10
    assert fleet.asked - asked <= 6.2 * 10 * len(fleet.workers)


@pytest.mark.parametrize("seed", range(30))
def test_server_and_host_give_the_same_answers(redis, seed):
    rng = random.Random(seed)
    limit, names = rng.choice([1, 2, 3, 8, 64]), [f"w{i}" for i in range(rng.choice([1, 3, 9]))]
    queue, table, now = LeasedSlotQueue(limit, 2, MAX_CALL_S), None, START
    held, numbers = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for _ in range(60):
        name, now = rng.choice(names), now + rng.choice([0.001, 0.05, 0.1, 0.2, 0.3, 1, 4, 80])
        table = table or SlotTable(now, now)
        numbers[name] += rng.choice([1, 1, 1, 0])
        is_busy = rng.random() < 0.7
        asked = SlotLeaseRequest(
            now,
            numbers[name],
            rng.randint(0, held[name]),
            rng.randint(0, limit),
            is_busy,
            is_busy and rng.random() < 0.5,
            rng.random() < 0.03,
        )
        lease = table.exchange(name, limit, queue.hold_s, asked, now)
        assert lease == ask_for_slots(redis, "slots", name, queue, asked, now)
        if lease is not None:
            held[name] = 0 if asked.is_leaving else lease.slots
