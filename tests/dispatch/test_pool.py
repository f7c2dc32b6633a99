"""Who is asked next: tiers, weights, waits, quotas; and who is not, after what it did."""

import logging
from collections import Counter

import pytest

from app.domain import EmbeddingRequest
from app.errors import (
    BrokenContract,
    ConnectionFailed,
    CredentialsRefused,
    ProviderTimeout,
    ProviderUnavailable,
    Rejected,
    Throttled,
)
from tests.dispatch.parts import deployment, pool, ticket

T = 1000.0
ill = ProviderUnavailable("failed with 503")
refused = ConnectionFailed("could not be reached")
credentials = CredentialsRefused("refused our credentials (401)")


def chosen(of, times=1000, now=T, **options):
    """Who was chosen how often, nothing being under way."""
    counts = Counter(of.choose(now, 1, **options) for _ in range(times))
    return {d.name if d else None: number for d, number in counts.items()}


def eject(of, member, error=refused, now=T):
    for _ in range(5):
        of.failed(member, error, now, 1, 5.0 if isinstance(error, ProviderTimeout) else 0.05)


def abc(**settings):
    members = [deployment(name, **settings) for name in "abc"]
    return pool(*members), *members


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
        of.succeeded(a, 1, seconds_of_a, T)
        of.succeeded(b, 1, seconds_of_b, T)
    return of, a, b


def test_small_differences_of_latency_do_not_move_traffic():
    of, *_ = learned(0.06, 0.05, weight=3)
    assert chosen(of, 4000)["a"] == pytest.approx(3000, abs=150)


def test_the_slower_one_is_spared():
    of, *_ = learned(0.5, 0.05)
    assert chosen(of) == {"b": 1000}


def test_the_longer_queue_is_avoided():
    a, b = deployment("a"), deployment("b")
    for _ in range(3):
        a.gate.submit(ticket(a))
    assert chosen(pool(a, b)) == {"b": 1000}


def test_one_whose_oldest_call_is_late_is_as_slow_as_that():
    of, a, _ = learned(0.05, 0.05)
    call = object()
    a.left(call, T - 1)
    assert chosen(of) == {"b": 1000}
    a.ended(call)
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


def test_who_has_failed_a_request_is_not_asked_again_while_another_can_serve():
    of, a, b, c = abc()
    assert set(chosen(of, avoid=[a])) == {"b", "c"}
    assert chosen(of, avoid=[a, b, c]) == {None: 1000}


def test_a_request_quota_is_kept_before_the_provider_has_to_say_so():
    a, b = deployment("a", requests_per_minute=2), deployment("b")
    of = pool(a, b)
    for _ in range(2):
        a.quota.take(1, 1, T)
    assert chosen(of) == {"b": 1000}
    assert "a" in chosen(of, now=T + 60)


def test_a_token_quota_is_kept_before_the_provider_has_to_say_so():
    a, b = deployment("a", tokens_per_minute=100), deployment("b")
    of = pool(a, b)
    a.quota.take(1, 90, T)
    assert of.choose(T, 50) is b
    assert {of.choose(T, 10) for _ in range(100)} == {a, b}


def test_the_only_one_keeps_its_quota_too_and_says_how_long():
    a = deployment("a", requests_per_minute=1)
    of = pool(a)
    a.quota.take(1, 1, T)
    assert of.choose(T + 20, 1) is None
    assert of.wait(T + 20, 1) == pytest.approx(40)


@pytest.mark.parametrize("error", [ill, refused, credentials, Throttled("slow", retry_after=30)])
def test_the_only_one_is_asked_whatever_its_health(error):
    a = deployment("a")
    of = pool(a)
    eject(of, a, error)
    assert chosen(of) == {"a": 1000}


@pytest.mark.parametrize(
    "error",
    [ill, BrokenContract("answered nonsense"), ProviderTimeout("did not answer in time")],
    ids=lambda e: e.cause,
)
@pytest.mark.parametrize("number", [2, 3, 4, 5])
def test_no_more_than_half_is_ejected_for_a_fault_that_all_share(error, number):
    members = [deployment(name) for name in "abcde"[:number]]
    of = pool(*members)
    for _ in range(3):
        for member in members:
            eject(of, member, error)
    out = [m for m in members if m.health.state(T) == "ejected"]
    assert len(out) == number // 2
    assert set(chosen(of)) == {m.name for m in members if m not in out}


def test_one_that_nobody_answers_at_is_dead_whatever_the_others_do():
    of, *members = abc()
    for member in members:
        eject(of, member, refused)
    assert chosen(of) == {None: 1000}
    assert not of.can_serve(T)
    assert 0 < of.wait(T, 1) <= 1


def test_with_all_ejected_one_is_probed_every_second():
    of, *members = abc()
    for member in members:
        eject(of, member, refused)
    probed = []
    for tenth in range(30):
        now = T + tenth / 10
        while (one := of.choose(now, 1)) is not None:
            one.health.leave(now)
            probed.append(now)
            of.failed(one, refused, now + 0.01, 1, 0.005)
    assert 3 <= len(probed) <= 3 * 3 * 2


def test_one_that_refuses_our_key_is_ejected_at_once_and_loudly(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("app"), "propagate", True)
    of, a, *_ = abc()
    assert of.failed(a, credentials, T, 1, 0.05)
    assert set(chosen(of, now=T + 20)) == {"b", "c"}
    (loud,) = {r.getMessage() for r in caplog.records if r.levelno == logging.ERROR}
    assert "a/m" in loud
    assert "check its api_key" in loud


def test_one_that_rests_is_not_asked_until_then():
    of, a, *_ = abc()
    of.failed(a, Throttled("slow down", retry_after=7), T, 1, 0.05)
    assert set(chosen(of, now=T + 6.9)) == {"b", "c"}
    assert set(chosen(of, now=T + 7)) == {"a", "b", "c"}


def test_when_all_rest_it_is_known_for_how_long():
    of, *members = abc()
    for seconds, member in zip((9, 4, 6), members, strict=True):
        of.failed(member, Throttled("slow down", retry_after=seconds), T, 1, 0.05)
    assert chosen(of) == {None: 1000}
    assert of.wait(T, 1) == pytest.approx(4)


def test_a_refusal_of_the_input_says_that_the_provider_is_well():
    of, a, *_ = abc()
    for _ in range(4):
        of.failed(a, ill, T, 1, 0.05)
    of.failed(a, Rejected("your input is invalid"), T, 1, 0.05)
    assert not of.failed(a, ill, T, 1, 0.05)


def test_a_caller_in_a_hurry_proves_nothing_about_the_provider():
    of, a, *_ = abc()
    for _ in range(20):
        of.failed(a, ProviderTimeout("did not answer in time"), T, 1, 0.2)
    assert a.health.state(T) == "ok"
    for _ in range(5):
        of.failed(a, ProviderTimeout("did not answer in time"), T, 1, 5.0)
    assert a.health.state(T) == "ejected"


def test_dimensions_that_only_one_can_give_go_there():
    a, b = deployment("a"), deployment("b")
    a.can_serve = lambda dimensions: dimensions is None
    of = pool(a, b)
    assert chosen(of, request=EmbeddingRequest("m", ["x"], dimensions=8)) == {"b": 1000}
    assert set(chosen(of, request=EmbeddingRequest("m", ["x"]))) == {"a", "b"}


def test_calls_that_were_under_way_at_an_ejection_do_not_lengthen_it():
    """64 calls meet the same short outage: that is one ejection of a second, not of a minute."""
    of, a, *_ = abc()
    for _ in range(64):
        of.failed(a, refused, T, 1, 0.05)
    assert a.health.ejections_ever == 1
    assert a.health.may_serve(T + 1)


@pytest.mark.parametrize(("error", "seconds"), [(refused, 0.1), (ProviderTimeout("hurry"), 0.1)])
def test_a_call_that_was_under_way_at_an_ejection_does_not_make_room_for_a_second_probe(
    error, seconds
):
    of, a, *_ = abc()
    eject(of, a)
    now = T + 100
    assert a.health.may_serve(now)
    a.health.leave(now)  # the probe is under way …
    of.failed(a, error, now, 1, seconds)  # … when an older call ends
    assert not a.health.may_serve(now + 1e-6)
    assert not a.health.may_serve(now + 100)


def test_a_slow_spell_is_forgotten_when_nobody_has_asked_for_minutes():
    """One that was slow once gets its share again: else it never can show that it is well."""
    a, b = deployment("a"), deployment("b")
    of = pool(a, b)
    of.succeeded(a, 1, 2.0, T)
    for minute in range(10):
        of.succeeded(b, 1, 0.05, T + 60 * minute)
    assert "a" in chosen(of, now=T + 600)
