"""Sizes, states and lags: read every two seconds and at a scrape."""

from itertools import pairwise
from types import SimpleNamespace

import pytest

from app.cache.memory import CacheStats, SharedStats
from app.concurrency import yielding
from app.dispatch.deployments.deployment import Agreement
from app.limits.counters.memory import MemoryWindows
from app.limits.counters.windows import WindowsState
from app.observability.metrics.gauges import Gauges, _Lag
from app.observability.metrics.meter import Meter
from app.usage.ledger.ledger import LedgerState
from tests.observability.metrics.samples import values


def test_gauges_of_cache_and_ledger(meter, files):
    gauges = Gauges(meter)
    memory, shared, ledger = (
        CacheStats(2, 1, 0, 700, 1),
        CacheStats(5, 0),
        LedgerState(4, 1, 0, 1, 500, False),
    )
    gauges.cache("memory", lambda: memory)
    gauges.cache("redis", lambda: shared)
    gauges.ledger(lambda: ledger)
    gauges.look()
    memory, ledger = CacheStats(4, 1, 2, 600, 1), LedgerState(14, 5, 9, 0, 0, True)
    gauges.look()
    gauges.look()
    found = values(files)
    assert found["cache_hits_total{level=memory}"] == 4
    assert found["cache_misses_total{level=memory}"] == 1
    assert found["cache_evictions_total{level=memory}"] == 2
    assert found["cache_bytes{level=memory}"] == 600
    assert found["cache_hits_total{level=redis}"] == 5
    assert "cache_bytes{level=redis}" not in found
    assert (found["ledger_queued"], found["ledger_spooled_bytes"]) == (0, 0)
    assert (found["ledger_recorded_total"], found["ledger_written_total"]) == (14, 5)
    assert (found["ledger_lost_total"], found["ledger_down"]) == (9, 0)
    assert (found["workers"], found["worker_starts_total"]) == (1, 1)


def test_the_lag_of_the_ledger_is_the_age_of_its_oldest_row():
    def state(recorded, written, waits, lost=0):
        return LedgerState(recorded, written, lost, int(waits), 0, True)

    lag = _Lag()
    assert lag.lag_s(0, state(0, 0, waits=False)) == 0
    assert lag.lag_s(2, state(10, 0, waits=True)) == 2  # recorded since the last reading
    assert lag.lag_s(4, state(30, 0, waits=True)) == 4
    assert lag.lag_s(6, state(30, 10, waits=True)) == 4  # the ten of the first two seconds
    assert lag.lag_s(8, state(40, 38, waits=True, lost=2)) == 0
    assert lag.lag_s(10, state(40, 90, waits=False)) == 0  # fifty of a worker that is gone
    assert lag.lag_s(12, state(45, 90, waits=True)) == 2
    assert lag.lag_s(14, state(45, 95, waits=True)) == 0


def test_deployments_are_counted_by_state(meter, files):
    def deployment(name, state):
        return SimpleNamespace(
            provider_name=name,
            queue=SimpleNamespace(waiting=3, concurrency=8),
            standing=SimpleNamespace(state=lambda now: state, in_flight=2),
            agreement=None,
        )

    pairs = [("embed", deployment("p", "ok")), ("embed", deployment("q", "ejected"))]
    gauges = Gauges(meter)
    gauges.dispatch(SimpleNamespace(deployments=lambda: pairs))
    gauges.look()
    found = values(files)
    assert found["deployment_workers{model=embed,provider=p,state=ok}"] == 1
    assert found["deployment_workers{model=embed,provider=p,state=ejected}"] == 0
    assert found["deployment_workers{model=embed,provider=q,state=ejected}"] == 1
    assert found["waiting{provider=p}"] == 3
    assert found["calls_in_flight{provider=q}"] == 2
    assert found["concurrency{provider=q}"] == 8


def test_failed_reading_does_not_stop_the_others(meter, files, caplog):
    gauges = Gauges(meter)
    gauges.cache("broken", lambda: 1 / 0)
    gauges.cache("memory", lambda: CacheStats(1, 0))
    gauges.look()
    assert values(files)["cache_hits_total{level=memory}"] == 1
    assert "could not be looked up" in caplog.text


def test_failed_reading_is_logged_once_an_episode(meter, caplog):
    outcomes = iter([1, 0, 0, 1, 0])
    gauges = Gauges(meter)
    gauges.cache("memory", lambda: CacheStats(1 // next(outcomes), 0))
    for _ in range(5):
        gauges.look()
    assert len(caplog.records) == 2


@pytest.fixture
def gauges(files):
    return Gauges(Meter(files, ["embed"]))


def test_cache_server_metrics(gauges, files):
    states = [
        CacheStats(5, 9, shared=SharedStats(4, 1, 6, 2, True)),
        CacheStats(7, 9, shared=SharedStats(4, 2, 9, 2, False)),
    ]
    gauges.cache("redis", lambda: states[0] if len(states) == 1 else states.pop(0))
    gauges.cache("memory", lambda: CacheStats(1, 1))
    gauges.look()
    found = values(files)
    assert found["cache_down{level=redis}"] == 1
    assert found["cache_spoiled_total{level=redis}"] == 1
    gauges.look()
    found = values(files)
    assert found["cache_down{level=redis}"] == 0
    for name, number in [("lost", 4), ("spoiled", 2), ("written", 9), ("dropped", 2)]:
        assert found[f"cache_{name}_total{{level=redis}}"] == number
        assert f"cache_{name}_total{{level=memory}}" not in found


def test_unchecked_limits_are_counted(gauges, files):
    states = [WindowsState(3, 0, True), WindowsState(5, 2, False)]
    gauges.limits(lambda: states[0] if len(states) == 1 else states.pop(0))
    gauges.look()
    assert values(files)["limits_down"] == 1
    gauges.look()
    found = values(files)
    assert (found["limits_unchecked_total"], found["limits_dropped_total"]) == (5, 2)
    assert found["limits_down"] == 0


def test_limits_in_memory_have_no_metrics(gauges, files):
    gauges.limits(MemoryWindows().state)
    gauges.look()
    assert not [name for name in values(files) if name.startswith("limits")]


def test_unusual_volume_is_shown(gauges, files):
    alert = SimpleNamespace(counts={"key": 1, "user": 2})
    gauges.volume(alert)
    gauges.look()
    found = values(files)
    assert (found["unusual{who=user}"], found["unusual{who=key}"]) == (2, 1)
    alert.counts = {"key": 0, "user": 2}
    gauges.look()
    assert values(files)["unusual{who=key}"] == 0


def test_reading_many_deployments_lets_requests_go_on(gauges, monkeypatch):
    now, yielded_at = [0.0], [0.0]

    def state(at):
        now[0] += 20e-6
        return "ok"

    monkeypatch.setattr(yielding, "yield_control", lambda: yielded_at.append(now[0]))
    monkeypatch.setattr(yielding, "time", SimpleNamespace(monotonic=lambda: now[0]))
    one = SimpleNamespace(
        provider_name="p",
        agreement=None,
        queue=SimpleNamespace(waiting=0, concurrency=8),
        standing=SimpleNamespace(state=state, in_flight=0),
    )
    pairs = [(f"model-{n}", one) for n in range(1000)]
    gauges.dispatch(SimpleNamespace(deployments=lambda: pairs))
    gauges.look()
    assert now[0] > 0.019
    assert max(b - a for a, b in pairwise([*yielded_at, now[0]])) < 0.004


def test_worst_agreement_of_a_model_at_a_provider_is_shown(gauges, files):
    def deployment(provider, lowest=None):
        known = lowest is not None
        agreement = Agreement(lowest, 0.99, "code", 0.0, lowest < 0.9) if known else None
        return "embed", SimpleNamespace(
            provider_name=provider,
            agreement=agreement,
            queue=SimpleNamespace(waiting=0, concurrency=8),
            standing=SimpleNamespace(state=lambda now: "drifted", in_flight=0),
        )

    pairs = [deployment("p", 0.95), deployment("p", 0.5), deployment("q")]
    gauges.dispatch(SimpleNamespace(deployments=lambda: pairs))
    gauges.look()
    found = values(files)
    assert found["deployment_cosine{model=embed,provider=p,statistic=lowest}"] == 0.5
    assert found["deployment_cosine{model=embed,provider=p,statistic=median}"] == 0.99
    assert found["deployment_drifted{model=embed,provider=p}"] == 1
    assert found["deployment_drifted{model=embed,provider=q}"] == 0
    assert found["deployment_workers{model=embed,provider=p,state=drifted}"] == 2
    assert "deployment_cosine{model=embed,provider=q,statistic=lowest}" not in found


def test_age_of_the_last_comparison_is_shown_beside_the_interval(gauges, files):
    ages = {("embed", "p"): 7.0}
    gauges.space_checks({}, lambda: ages, every=3600.0)
    gauges.look()
    ages["embed", "p"] = 9.0
    gauges.look()
    found = values(files)
    assert found["space_check_age_seconds{model=embed,provider=p}"] == 9
    assert found["space_check_interval_seconds"] == 3600


def test_checks_are_counted_by_outcome(gauges, files):
    counts = {("embed", "p", "agreed"): 2}
    gauges.space_checks(counts, dict, every=3600.0)
    gauges.look()
    counts["embed", "p", "agreed"] += 1
    counts["embed", "p", "skipped"] = 1
    gauges.look()
    found = values(files)
    assert found["space_checks_total{model=embed,outcome=agreed,provider=p}"] == 3
    assert found["space_checks_total{model=embed,outcome=skipped,provider=p}"] == 1
