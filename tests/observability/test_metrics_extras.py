"""Metrics of the shared servers, and of requests by key."""

from types import SimpleNamespace

import pytest

from app.cache.memory import CacheStats, SharedStats
from app.dispatch.drift import Agreement
from app.limits.memory import MemoryWindows
from app.limits.windows import WindowsState
from app.observability.metrics.files import Files
from app.observability.metrics.gauges import Gauges
from app.observability.metrics.meter import Meter
from app.usage.watch import Watch
from tests.observability.test_metrics import values
from tests.usage.conftest import exchange


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


@pytest.fixture
def gauges(files):
    return Gauges(Meter(files, ["embed"]))


def test_cache_server_metrics(gauges, files):
    told = [
        CacheStats(5, 9, shared=SharedStats(4, 1, 6, 2, True)),
        CacheStats(7, 9, shared=SharedStats(4, 2, 9, 2, False)),
    ]
    gauges.cache("redis", lambda: told[0] if len(told) == 1 else told.pop(0))
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
    told = [WindowsState(3, 0, True), WindowsState(5, 2, False)]
    gauges.limits(lambda: told[0] if len(told) == 1 else told.pop(0))
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


def test_requests_are_counted_by_key_and_not_by_user(gauges, files):
    watch = Watch(["team"])
    gauges.watch(watch)
    for caller, user, status in [("team", "a", 200), ("team", "b", 429), ("table", "c", 200)]:
        watch.finished(exchange(caller=caller, user=user), status)
    gauges.look()
    watch.finished(exchange(caller="team", user="d"), 429)
    watch.set_unusual([{"user": "loud"}, {"user": "louder"}, {"user": ""}])
    gauges.look()
    found = values(files)
    assert found["key_requests_total{key=team,result=ok}"] == 1
    assert found["key_requests_total{key=team,result=refused}"] == 2
    assert found["key_requests_total{key=other,result=ok}"] == 1
    assert len([name for name in found if name.startswith("key_requests")]) == 3
    assert (found["unusual{who=user}"], found["unusual{who=key}"]) == (2, 1)


def test_worst_agreement_of_a_model_at_a_provider_is_shown(gauges, files):
    def deployment(provider, lowest=None):
        known = lowest is not None
        agreement = Agreement(lowest, 0.99, "code", 0.0, lowest < 0.9) if known else None
        return "embed", SimpleNamespace(
            name=provider,
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
