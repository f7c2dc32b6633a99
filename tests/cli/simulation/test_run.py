"""The simulation agrees with queueing theory, and with what shares and tiers promise."""

import subprocess
import sys
import time
from dataclasses import replace

import pytest

import app.dispatch.sending.sender
from app.cli.simulation.run import SimulationError, simulate
from tests.cli.simulation.loads import figures, load, settings

ONE_SLOT = {"concurrency": 1, "max_inputs": 1}
BULK = {"clients": 16, "texts": (64, 64)}


@pytest.mark.no_cover  # see `tests.support.ordering`
@pytest.mark.parametrize("utilisation", [0.3, 0.6])
def test_mean_wait_for_one_slot_is_that_of_an_m_d_1_queue(utilisation):
    call_s = 0.1
    asked = {"key": "k", "per_second": utilisation / call_s}
    run = simulate(load(asked, a_call=call_s), settings({"k": {}}, **ONE_SLOT), 3600)
    waits = [one.queue_s for one in run.requests if one.arrived_at >= run.starts_at]
    expected_s = call_s * utilisation / (2 * (1 - utilisation))
    assert sum(waits) / len(waits) == pytest.approx(expected_s, rel=0.1)


def test_a_free_slot_is_not_waited_for():
    found = figures({"k": {}}, [{"key": "k", "clients": 4}], concurrency=4)["k"]
    assert max(found.queue_ms.values()) < 2
    assert found.total_ms[50] == pytest.approx(100, abs=2)
    assert found.texts_per_second == pytest.approx(40, rel=0.02)


@pytest.mark.no_cover  # see `tests.support.ordering`
def test_equal_keys_get_equal_parts_whatever_they_send():
    callers = [{"key": "a", "clients": 4, "texts": (64, 64)}, {"key": "b", **BULK}]
    found = figures({"a": {}, "b": {}}, callers, concurrency=2, max_inputs=64)
    assert found["a"].share_of_texts == pytest.approx(0.5, abs=0.01)


def test_keys_get_texts_by_their_shares():
    keys = {"a": {"share": 1}, "b": {"share": 2}, "c": {"share": 4}}
    callers = [{"key": key, **BULK} for key in keys]
    found = figures(keys, callers, concurrency=2, max_inputs=64, seconds=120)
    for key, share in (("a", 1 / 7), ("b", 2 / 7), ("c", 4 / 7)):
        assert found[key].share_of_texts == pytest.approx(share, rel=0.05)


def test_without_shares_all_keys_are_alike():
    keys = {"a": {"share": 9}, "b": {"service_tier": "flex"}}
    callers = [{"key": key, **BULK} for key in keys]
    found = figures(keys, callers, sharing="equal keys", concurrency=2, max_inputs=64)
    assert found["a"].share_of_texts == pytest.approx(0.5, abs=0.01)
    assert found["b"].tier == "flex"  # that of the settings, so that rows can be compared


@pytest.mark.no_cover  # see `tests.support.ordering`
def test_a_query_waits_least_where_the_ingest_is_flex_and_longest_in_one_queue():
    keys = {"query": {}, "ingest": {"service_tier": "flex"}}
    callers = [
        {"key": "query", "per_second": 10},
        {"key": "ingest", "clients": 64, "texts": (500, 500)},
    ]
    waits = [
        figures(
            keys, callers, sharing=sharing, concurrency=4, max_inputs=64, a_call=0.001, a_text=0.002
        )["query"].queue_ms[50]
        for sharing in ("configured", "equal keys", "one queue")
    ]
    assert waits[0] < 2
    assert waits[0] < waits[1] < 129 < 5000 < waits[2]


def test_end_users_of_a_key_share_evenly_where_it_says_so():
    callers = [{"key": "k", "user": "a", **BULK}, {"key": "k", "user": "b", "per_second": 1}]
    fair, other = (
        simulate(
            load(*callers),
            settings({"k": {"fair_users": is_fair}}, concurrency=1, max_inputs=64),
            60,
        )
        for is_fair in (True, False)
    )
    waits = [[one.queue_s for one in run.requests if one.caller == 1] for run in (fair, other)]
    assert max(waits[0]) < 0.21
    assert len(waits[0]) == len(waits[1])


def test_each_worker_has_its_part_of_the_slots():
    asked = {"key": "k", "clients": 12}
    run = simulate(load(asked), settings({"k": {}}, workers=3, concurrency=4, max_inputs=1), 60)
    assert run.slots("p") == 3  # 4 / 3, rounded down
    assert figures({"k": {}}, [asked], workers=3, concurrency=4, max_inputs=1)[
        "k"
    ].texts_per_second == pytest.approx(30, rel=0.02)


def test_limits_of_keys_refuse_requests_and_clients_wait_before_they_repeat_one():
    found = figures({"k": {"concurrent_requests": 2}}, [{"key": "k", "clients": 3}], seconds=100)[
        "k"
    ]
    assert found.errors.keys() == {"rate_limit_exceeded"}
    assert found.errors["rate_limit_exceeded"] <= 100


@pytest.mark.parametrize(("url", "in_progress"), [(None, 2), ("redis://127.0.0.1:9/0", 1)])
def test_a_url_makes_limits_of_keys_those_of_all_workers(url, in_progress):
    made = settings({"k": {"concurrent_requests": 1}}, workers=2)
    made = replace(made, limits=replace(made.limits, url=url))
    run = simulate(load({"key": "k", "clients": 6}, a_call=2.0), made, 60)
    calls = run.providers["p"].calls
    most = max(sum(b.started_at <= a.started_at < b.ended_at for b in calls) for a in calls)
    assert most == in_progress  # without a url each worker counts for itself, and allows one


@pytest.mark.parametrize("url", [None, "redis://127.0.0.1:9/0"])
def test_the_quota_of_a_deployment_is_not_passed(url):
    made = settings({"k": {}}, workers=2)
    model = made.models["m"]
    deployment = replace(model.deployments[0], requests_per_minute=120)
    made = replace(
        made,
        models={"m": replace(model, deployments=(deployment,))},
        limits=replace(made.limits, url=url),
    )
    run = simulate(load({"key": "k", "per_second": 10, "texts": (2, 2)}), made, 180)
    starts = sorted(call.started_at for call in run.providers["p"].calls)
    in_a_minute = [sum(at <= other < at + 60 for other in starts) for at in starts]
    assert 60 < max(in_a_minute) <= 120


def test_a_full_queue_and_a_deadline_are_errors():
    keys, slow = {"k": {}}, {"a_call": 5.0, **ONE_SLOT}
    found = figures(keys, [{"key": "k", "per_second": 2, "timeout": 20}], **slow)["k"]
    assert "timeout" in found.errors
    crowd = figures(keys, [{"key": "k", "per_second": 50, "timeout": 60}], **slow)["k"]
    assert crowd.errors["overloaded"] > 1000
    assert crowd.requests >= sum(crowd.errors.values())


def test_a_load_without_end_is_given_up():
    with pytest.raises(SimulationError, match="no end after 101 events"):
        simulate(load({"key": "k", "clients": 1}), settings({"k": {}}), 60, max_events=100)


def test_the_same_seed_gives_the_same_requests():
    def once(seed):
        asked = {"key": "k", "per_second": 20, "texts": (1, 9), "tokens": (5, 500)}
        return simulate(load(asked, a_text=0.01), settings({"k": {}}, concurrency=1), 20, seed)

    first, again, other = once(1).requests, once(1).requests, once(2).requests
    assert first == again
    assert first != other


def test_real_time_is_back_after_a_simulation():
    simulate(load({"key": "k", "clients": 1}), settings({"k": {}}), 1)
    assert app.dispatch.sending.sender.time is time


def test_only_the_command_imports_the_simulation():
    code = "import sys, app.cli.program, app.factory; sys.exit('app.cli.simulation' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
