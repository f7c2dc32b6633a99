"""A request of many parts takes little of a worker's time, also while no deployment takes them."""

from dataclasses import dataclass

import pytest

from app.dispatch.deployments.pool import Pool
from app.dispatch.job.job import Job
from app.domain import Flow
from app.errors import NotServed, ProviderUnavailable, Throttled
from tests.dispatch.arrangements import START, codes, models, waited
from tests.dispatch.members import dead, good, silent
from tests.dispatch.simulator import simulated

PARTS = 300


@dataclass
class Looks:
    """Counts how often a deployment is looked for."""

    number: int = 0


@pytest.fixture
def looks(monkeypatch):
    counted, choose = Looks(), Pool.choose

    def count(*args, **options):
        counted.number += 1
        return choose(*args, **options)

    monkeypatch.setattr(Pool, "choose", count)
    return counted


def texts(number, name=""):
    return [f"{'x' * (i * 7 % 50)} {i} {name}" for i in range(number)]


def test_parts_before_a_full_queue_are_not_looked_at_one_by_one(looks):
    """Fifty other keys send half as many again as the provider takes, for four seconds."""
    waiting = {"concurrency": 8, "merge": False, "waiting": 20}
    with simulated({"a": good(0.05)}, models("a", max_inputs=1), **waiting) as run:
        large = run.ask("m", texts(PARTS), timeout=60, flow=Flow("large"))
        for i in range(960):
            flow = Flow(f"key {i % 50}")
            run.ask("m", [f"{i}"], after=0.2 + i * 0.05 / 8 / 1.5, timeout=5, flow=flow)
        run.to_the_end()
        assert codes([large]) == {"ok": 1}
        assert looks.number < 10 * len(run.calls())


def test_parts_are_not_looked_at_one_by_one_while_a_probe_is_under_way(looks):
    """Both deployments refuse connections for a while; then they accept them and never answer."""

    def ill(world, call):
        behaviour = good(0.05) if world.now < 1000.5 else dead if world.now < 1001.2 else silent
        return behaviour(world, call)

    with simulated({"a": ill, "b": ill}, models("a", "b", max_inputs=1), concurrency=4) as run:
        large = run.ask("m", texts(PARTS), timeout=10)
        run.to_the_end()
        assert large.error is not None
        assert looks.number < 100 * PARTS  # with all parts, a hundred times a second: 300,000


def test_a_part_waits_as_long_as_the_deployments_that_it_may_be_sent_to(monkeypatch):
    """a has answered its call with 404, and serves others; b rests for ten seconds."""
    advance, looks = Job.advance, list[float]()
    monkeypatch.setattr(Job, "advance", lambda job, now: looks.append(now) or advance(job, now))

    def a(world, call):
        is_bad = call.items == ["text 3"]
        return 0.05, NotServed("does not know the model (404)") if is_bad else None

    def b(world, call):
        rest = START + 10 - world.now
        error = ProviderUnavailable("failed with 503", retry_after=rest)
        return 0.05, error if 0 < rest < 9.99 else None

    with simulated({"a": a, "b": b}, models("a", "b", max_inputs=1), concurrency=1) as run:
        asked = run.ask("m", [f"text {i}" for i in range(8)], timeout=60)
        run.to_the_end()
        assert codes([asked]) == {"ok": 1}
        assert 10 < waited(asked) < 10.2
    assert len(looks) < 50  # a hundred times a second it would be a thousand


def test_flex_waits_for_a_rest_beside_a_full_queue_that_cannot_serve_it():
    """a has answered it with 404, and others wait there; b rests for three seconds."""

    def a(world, call):
        is_bad = call.items[0].startswith("bad")
        return 0.3, NotServed("does not know the model (404)") if is_bad else None

    def b(world, call):
        rest = START + 3 - world.now
        return 0.01, Throttled("429", retry_after=rest) if rest > 0.01 else None

    two = {"m": [{"provider": "a"}, {"provider": "b", "tier": 1}]}
    options = {"concurrency": 1, "merge": False, "waiting": 1}
    with simulated({"a": a, "b": b}, two, **options) as run:
        run.ask("m", ["bad first"], timeout=30)  # after which b rests
        flex = run.ask("m", ["bad"], timeout=30, after=0.5, flow=Flow("k", tier="flex"))
        run.ask("m", ["another"], timeout=30, after=0.6)
        run.to_the_end()
        assert codes([flex]) == {"ok": 1}
        assert 2.4 < waited(flex) < 3


def test_every_part_is_sent_once_there_is_room():
    """The queue has room for few of the parts at a time."""
    waiting = {"concurrency": 2, "merge": False, "waiting": 3}
    with simulated({"a": good(0.05)}, models("a", max_inputs=1), **waiting) as run:
        asked = [run.ask("m", texts(PARTS, i), after=i * 0.1, timeout=100) for i in range(3)]
        run.to_the_end()
        assert codes(asked) == {"ok": 3}
        assert max(one.heard - one.at for one in asked) < 1.2 * 3 * PARTS * 0.05 / 2
