"""Who is asked next: tiers, weights, waits and quotas."""

import pytest

from app.dispatch.batching import SlotQueue
from app.errors import (
    Throttled,
)
from tests.dispatch.parts import T, attempt, deployment, expected, pool
from tests.dispatch.pools import abc, chosen, credentials, eject, fail, ill, refused, succeed


def test_weights_are_shares_while_all_are_well():
    counts = chosen(pool(deployment("a", weight=3), deployment("b")), 4000)
    assert counts["a"] == pytest.approx(3000, abs=150)


def test_weights_are_shares_also_among_many():
    members = [deployment(name, weight=w) for name, w in (("a", 2), ("b", 1), ("c", 1))]
    counts = chosen(pool(*members), 4000)
    assert counts == {
        "a": pytest.approx(2000, abs=150),
        "b": pytest.approx(1000, abs=150),
        "c": pytest.approx(1000, abs=150),
    }


def learned(seconds_of_a, seconds_of_b, **settings):
    """Two deployments that have shown how long they take."""
    a, b = deployment("a", **settings), deployment("b")
    of = pool(a, b)
    for _ in range(20):
        succeed(of, a, seconds_of_a)
        succeed(of, b, seconds_of_b)
    return of, a, b


def test_small_differences_of_latency_do_not_move_traffic():
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


def test_one_whose_oldest_call_is_late_is_as_slow_as_that():
    of, a, _ = learned(0.05, 0.05)
    call = object()
    a.standing.call_started(call, 1, T - 1)
    assert chosen(of) == {"b": 1000}
    a.standing.call_ended(call)
    assert set(chosen(of)) == {"a", "b"}


def test_the_next_tier_only_when_none_of_the_one_before_can_serve():
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


def test_a_request_quota_is_kept_before_the_provider_has_to_say_so():
    a, b = deployment("a", requests_per_minute=2), deployment("b")
    of = pool(a, b)
    for _ in range(2):
        assert a.quota.reserve(1, T)
    assert chosen(of) == {"b": 1000}
    assert "a" in chosen(of, now=T + 61)


def test_a_token_quota_is_kept_before_the_provider_has_to_say_so():
    a, b = deployment("a", tokens_per_minute=100), deployment("b")
    of = pool(a, b)
    assert a.quota.reserve(90, T)
    assert of.choose(T, expected(50)) is b
    assert {of.choose(T, expected(10)) for _ in range(100)} == {a, b}


def test_the_only_one_keeps_its_quota_too_and_says_how_long():
    a = deployment("a", requests_per_minute=1)
    of = pool(a)
    assert a.quota.reserve(1, T)
    assert of.choose(T + 20, expected(1)) is None
    assert of.wait(T + 20, expected(1), [a]) == pytest.approx(40, abs=0.2)


@pytest.mark.parametrize("error", [ill, refused, credentials, Throttled("slow")])
def test_the_only_one_is_asked_whatever_its_health(error):
    a = deployment("a")
    of = pool(a)
    eject(of, a, error)
    assert chosen(of) == {"a": 1000}


def test_with_all_ejected_one_is_probed_every_second():
    of, *members = abc()
    for member in members:
        eject(of, member, refused)
    probed = []
    for tenth in range(30):
        now = T + tenth / 10
        while (one := of.choose(now, expected(1))) is not None:
            one.standing.chosen(now)
            probed.append(now)
            fail(of, one, refused, now + 0.01, 0.01)
    assert 3 <= len(probed) <= 3 * 3 * 2


def test_one_that_rests_is_not_asked_until_then():
    of, a, *_ = abc()
    fail(of, a, Throttled("slow down", retry_after=7))
    assert set(chosen(of, now=T + 6.9)) == {"b", "c"}
    assert set(chosen(of, now=T + 7)) == {"a", "b", "c"}


def test_when_all_rest_it_is_known_for_how_long():
    of, *members = abc()
    for seconds, member in zip((9, 4, 6), members, strict=True):
        fail(of, member, Throttled("slow down", retry_after=seconds))
    assert chosen(of) == {None: 1000}
    assert of.wait(T, expected(1), members) == pytest.approx(4)


def test_only_a_suitable_deployment_is_asked():
    of, a, b, _ = abc()
    assert chosen(of, suitable=[b]) == {"b": 1000}
    assert set(chosen(of, suitable=[a, b])) == {"a", "b"}
    eject(of, b)
    assert chosen(of, suitable=[b]) == {None: 1000}


def test_one_whose_queue_is_full_is_not_asked():
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
def test_has_other_says_whether_choose_would_find_one(which, ejected):
    of, *members = abc()
    for member in members:
        if member.name in ejected:
            eject(of, member)
    for later in (0, 1, 2, 100):
        avoid = [member for member in members if member.name in which]
        found = of.choose(T + later, expected(1), members, avoid)
        assert of.has_other(T + later, expected(1), members, avoid) == (found is not None)


def test_a_slow_spell_is_forgotten_when_no_call_was_made_for_minutes():
    """One that was slow once gets its share again: else it never can show that it is well."""
    a, b = deployment("a"), deployment("b")
    of = pool(a, b)
    succeed(of, a, 2.0)
    for minute in range(10):
        succeed(of, b, 0.05, T + 60 * minute)
    assert "a" in chosen(of, now=T + 600)
