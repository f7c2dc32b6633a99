"""The choice of a deployment: tiers, weights, waits and quotas."""

import pytest

from app.config.sections.declaration import MAX_PROPORTION, MIN_PROPORTION
from app.dispatch.deployments.token_estimate import Expected
from app.dispatch.queue.slot_queue import SlotQueue
from app.domain import Flow
from app.errors import (
    Throttled,
)
from tests.dispatch.parts import T, attempt, deployment, expected, pool
from tests.dispatch.pools import abc, chosen, credentials, eject, fail, ill, refused, succeed


def test_weights_are_shares_while_all_are_healthy():
    counts = chosen(pool(deployment("a", weight=3), deployment("b")), 4000)
    assert counts["a"] == pytest.approx(3000, abs=150)


def test_weights_are_shares_of_many_deployments():
    members = [deployment(name, weight=w) for name, w in (("a", 2), ("b", 1), ("c", 1))]
    counts = chosen(pool(*members), 4000)
    assert counts == {
        "a": pytest.approx(2000, abs=150),
        "b": pytest.approx(1000, abs=150),
        "c": pytest.approx(1000, abs=150),
    }


@pytest.mark.parametrize("weight", [MIN_PROPORTION, MAX_PROPORTION])
def test_deployments_of_any_weight_are_chosen_when_they_are_back(weight):
    a, b = deployment("a", weight=weight), deployment("b", weight=weight)
    of = pool(a, b)
    for member in (a, b):  # each begins with a tenth of its weight
        eject(of, member)
        succeed(of, member, now=T + 100)
    assert chosen(of, 4000, T + 100)["a"] == pytest.approx(2000, abs=150)


def learned(seconds_of_a, seconds_of_b, **settings):
    """Two deployments with known latencies."""
    a, b = deployment("a", **settings), deployment("b")
    of = pool(a, b)
    for _ in range(20):
        succeed(of, a, seconds_of_a)
        succeed(of, b, seconds_of_b)
    return of, a, b


def test_small_differences_of_latency_do_not_change_shares():
    of, *_ = learned(0.06, 0.05, weight=3)
    assert chosen(of, 4000)["a"] == pytest.approx(3000, abs=150)


def test_slower_deployment_gets_fewer_calls():
    of, *_ = learned(0.5, 0.05)
    assert chosen(of) == {"b": 1000}


def test_deployment_with_longer_queue_is_avoided():
    a, b = deployment("a"), deployment("b")
    for _ in range(3):
        a.queue.submit(attempt(a, group=None), T)
    assert chosen(pool(a, b)) == {"b": 1000}


def test_age_of_the_oldest_call_counts_as_latency():
    of, a, _ = learned(0.05, 0.05)
    call = object()
    a.standing.call_started(call, 1, T - 1)
    assert chosen(of) == {"b": 1000}
    a.standing.call_ended(call)
    assert set(chosen(of)) == {"a", "b"}


def test_next_tier_is_used_only_if_no_lower_tier_can_serve():
    a, b, c = deployment("a", tier=1), deployment("b"), deployment("c")
    of = pool(a, b, c)
    assert set(chosen(of)) == {"b", "c"}
    eject(of, b)
    assert chosen(of) == {"c": 1000}
    eject(of, c)
    assert chosen(of) == {"a": 1000}
    eject(of, a)
    assert chosen(of) == {None: 1000}


def test_deployment_that_failed_a_request_is_avoided():
    of, a, b, c = abc()
    assert set(chosen(of, avoid=[a])) == {"b", "c"}
    assert chosen(of, avoid=[a, b, c]) == {None: 1000}


def test_deployment_over_its_request_quota_is_not_chosen():
    a, b = deployment("a", requests_per_minute=2), deployment("b")
    of = pool(a, b)
    for _ in range(2):
        assert a.quota.reserve(1, T)
    assert chosen(of) == {"b": 1000}
    assert "a" in chosen(of, now=T + 61)


def test_deployment_over_its_token_quota_is_not_chosen():
    a, b = deployment("a", tokens_per_minute=100), deployment("b")
    of = pool(a, b)
    assert a.quota.reserve(40, T)
    assert of.choose(T, expected(70)) is b
    assert {of.choose(T, expected(10)) for _ in range(100)} == {a, b}


def test_only_deployment_over_its_quota_reports_the_wait():
    a = deployment("a", requests_per_minute=1)
    of = pool(a)
    assert a.quota.reserve(1, T)
    assert of.choose(T + 20, expected(1)) is None
    assert of.wait(T + 20, expected(1), [a]) == pytest.approx(40, abs=0.2)


def test_call_may_wait_for_room_that_its_quota_has_in_a_moment():
    a, b = (deployment(name, requests_per_minute=1) for name in "ab")
    assert a.quota.reserve(1, T - 1)
    assert b.quota.reserve(1, T)
    for of, soon in ((pool(a), a), (pool(a, b), a)):
        later, only = T + 58, [soon] if of.is_alone else [a, b]
        assert of.choose(later, expected(1), only, deadline=T + 100) is soon
        assert of.choose(later, expected(1), only, deadline=later + 1) is None
        assert of.choose(later - 2, expected(1), only, deadline=T + 100) is None


def test_quota_that_holds_calls_back_is_passed_over_for_an_idle_deployment():
    a, b = deployment("a", requests_per_minute=60), deployment("b", tier=1)
    of, flex = pool(a, b), Expected(1, 1, Flow(tier="flex"))
    for _ in range(30):
        assert of.choose(T, expected(1)) is a
        assert a.quota.reserve(1, T)
    assert a.quota.reserve(1, T)
    assert of.choose(T, expected(1)) is b
    assert of.choose(T, flex) is a
    assert of.choose(T + 2, expected(1)) is a
    b.queue.free = 0
    assert of.choose(T, expected(1)) is a


@pytest.mark.parametrize("error", [ill, refused, credentials, Throttled("slow")])
def test_only_deployment_is_chosen_with_any_health(error):
    a = deployment("a")
    of = pool(a)
    eject(of, a, error)
    assert chosen(of) == {"a": 1000}


def test_with_all_ejected_each_second_has_a_probe():
    of, *members = abc()
    for member in members:
        eject(of, member, refused)
    probed = []
    for tenth in range(30):
        now = T + tenth / 10
        while (one := of.choose(now, expected(1))) is not None:
            one.standing.record_submitted(now)
            probed.append(now)
            fail(of, one, refused, now + 0.01, 0.01)
    assert 3 <= len(probed) <= 3 * 3 * 2


def test_resting_deployment_is_not_chosen():
    of, a, *_ = abc()
    fail(of, a, Throttled("slow down", retry_after=7))
    assert set(chosen(of, now=T + 6.9)) == {"b", "c"}
    assert set(chosen(of, now=T + 7)) == {"a", "b", "c"}


def test_if_all_rest_the_wait_is_reported():
    of, *members = abc()
    for seconds, member in zip((9, 4, 6), members, strict=True):
        fail(of, member, Throttled("slow down", retry_after=seconds))
    assert chosen(of) == {None: 1000}
    assert of.wait(T, expected(1), members) == pytest.approx(4)


def test_only_a_suitable_deployment_is_chosen():
    of, a, b, _ = abc()
    assert chosen(of, suitable=[b]) == {"b": 1000}
    assert set(chosen(of, suitable=[a, b])) == {"a", "b"}
    eject(of, b)
    assert chosen(of, suitable=[a, b]) == {"a": 1000}
    assert chosen(of, suitable=[b]) == {"b": 1000}, "no other can serve the request"
    assert chosen(of, suitable=[b], avoid=[b]) == {None: 1000}


def test_deployment_with_a_full_queue_is_not_chosen():
    a, b = deployment("a", SlotQueue(1, max_waiting=1)), deployment("b")
    of = pool(a, b)
    a.queue.submit(attempt(a, group=None), T)
    a.queue.submit(attempt(a, group=None), T)
    assert chosen(of) == {"b": 1000}
    assert chosen(of, suitable=[a]) == {None: 1000}
    assert of.is_full(T, expected(1), [a])
    assert not of.is_full(T, expected(1), [b])


@pytest.mark.parametrize("which", [[], ["a"], ["b"], ["a", "b"], ["a", "b", "c"]], ids=str)
@pytest.mark.parametrize("ejected", [[], ["a"], ["a", "b"], ["a", "b", "c"]], ids=str)
def test_has_other_agrees_with_choose(which, ejected):
    of, *members = abc()
    for member in members:
        if member.name in ejected:
            eject(of, member)
    for later in (0, 1, 2, 100):
        avoid = [member for member in members if member.name in which]
        found = of.choose(T + later, expected(1), members, avoid)
        assert of.has_other(T + later, expected(1), members, avoid) == (found is not None)


def test_latency_is_forgotten_after_minutes_without_calls():
    """Otherwise a deployment that was slow once would get no calls to show its recovery."""
    a, b = deployment("a"), deployment("b")
    of = pool(a, b)
    succeed(of, a, 2.0)
    for minute in range(10):
        succeed(of, b, 0.05, T + 60 * minute)
    assert "a" in chosen(of, now=T + 600)
