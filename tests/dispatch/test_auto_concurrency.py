"""A provider with ``"concurrency": "auto"``, with the real dispatch in virtual time."""

import pytest

from app.config.sections.providers import AutoConcurrency
from app.errors import Throttled
from tests.dispatch.arrangements import START, Stub, codes, dispatcher, models
from tests.dispatch.arrangements import vectors as good_vectors
from tests.dispatch.members import between, engine, good
from tests.dispatch.simulator import simulated

ALONE, SINGLE = models("a"), models("a", max_inputs=1)
SETTLED_S = 15


def bulk(run, requests, items):
    """Ask for so many calls: more wait at all times than may be in flight."""
    return [
        run.ask("m", [f"{number} {item}" for item in range(items)], timeout=600)
        for number in range(requests)
    ]


def watched(run, seconds):
    """Return a list that gets (seconds since the start, concurrency), twice a second."""
    seen = []
    queue = run.deployment("a").queue
    for half in range(2 * seconds):
        at = START + half / 2
        run.world.at(at, lambda: seen.append((run.world.now - START, queue.concurrency)))
    return seen


def test_finds_how_many_calls_the_engine_computes():
    options = {"concurrency": AutoConcurrency(), "merge": False}
    with simulated({"a": engine(lambda now: 8)}, SINGLE, **options) as run:
        asked, seen = bulk(run, 4, 2000), watched(run, 45)
        run.to_the_end()
        assert codes(asked) == {"ok": 4}
        limits = [limit for at, limit in seen if at > SETTLED_S]
        assert min(limits) >= 6
        assert max(limits) <= 12
        ended = max(call.ended for call in run.calls())
        assert ended - START < 1.1 * 8000 * 0.05 / 8  # the time with eight calls at once


def test_follows_the_engine():
    options = {"concurrency": AutoConcurrency(), "merge": False}

    def capacity(now):
        return 32 if 10 < now - START < 25 else 8

    with simulated({"a": engine(capacity)}, SINGLE, **options) as run:
        bulk(run, 6, 3000)
        seen = watched(run, 75)
        run.to_the_end()
        assert max(limit for at, limit in seen if at < 10) <= 14
        assert max(limit for at, limit in seen if 10 < at < 25) >= 28
        assert seen[-1][1] <= 14


def rate(concurrency, capacity, seconds, clients=200):
    """Return the requests a second of the second half, of clients that ask without a pause."""
    member = engine(lambda now: capacity, lambda items: 0.005 + 0.001 * items)
    with simulated({"a": member}, ALONE, max_inputs=64, concurrency=concurrency) as run:
        ended = []

        def ask(client):
            while run.world.now < START + seconds:
                asked = run.ask_and_wait("m", [f"{client} {len(ended)}"])
                assert asked.outcome is not None
                ended.append(run.world.now)

        for client in range(clients):
            run.world.at(START, lambda client=client: run.world.spawn(ask, client))
        run.world.run()
        half = seconds / 2
        return sum(half < at - START <= seconds for at in ended) / half


@pytest.mark.parametrize("capacity", [1, 4])
def test_merged_calls_stay_large(capacity):
    """More calls at once are smaller ones, whose own cost the engine pays more often."""
    found = rate(AutoConcurrency(), capacity, seconds=12)
    assert found >= 0.9 * rate(capacity, capacity, seconds=4)
    assert found > 1.2 * rate(64, capacity, seconds=4)


def test_429_cuts_the_concurrency():
    throttled = between(START + 1, START + 1.2, lambda world, call: (0.01, Throttled("no")), good())
    options = {"concurrency": AutoConcurrency(), "merge": False}
    with simulated({"a": throttled}, SINGLE, **options) as run:
        bulk(run, 2, 200)
        seen = watched(run, 3)
        run.to_the_end()
        before = max(limit for at, limit in seen if at <= 1)
        assert min(limit for at, limit in seen if 1 < at < 2) < before


@pytest.mark.parametrize(("bounds", "workers", "limit"), [((4, 4), 1, 4), ((8, 64), 4, 2)])
def test_bounds_are_shared_by_the_workers(bounds, workers, limit):
    made = dispatcher(
        {"a": Stub(lambda call: good_vectors(call.items))},
        workers=workers,
        provider={"concurrency": AutoConcurrency(*bounds)},
    )
    (reported,) = made.report()
    assert (reported["concurrency"], reported["concurrency_is_auto"]) == (limit, True)
