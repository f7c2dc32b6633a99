"""Deployments are ejected by the results of their calls, and of those of the others."""

import logging

import pytest

from app.errors import (
    BrokenContract,
    ProviderTimeout,
    Rejected,
)
from tests.dispatch.parts import T, attempt, batch, deployment, expected, pool
from tests.dispatch.pools import abc, chosen, credentials, eject, fail, ill, refused, succeed


@pytest.mark.parametrize(
    "error",
    [ill, BrokenContract("answered nonsense"), ProviderTimeout("did not answer in time")],
    ids=lambda e: e.cause,
)
@pytest.mark.parametrize("number", [2, 3, 4, 5])
def test_at_most_half_are_ejected_for_a_shared_fault(error, number):
    members = [deployment(name) for name in "abcde"[:number]]
    of = pool(*members)
    for _ in range(3):
        for member in members:
            eject(of, member, error)
    out = [m for m in members if m.breaker.state(T) == "ejected"]
    assert len(out) == number // 2
    assert set(chosen(of)) == {m.provider_name for m in members if m not in out}


def test_refused_connection_ejects_any_number_of_deployments():
    of, *members = abc()
    for member in members:
        eject(of, member, refused)
    assert chosen(of) == {None: 1000}
    assert not of.can_serve(T)
    assert 0 < of.wait_s(T, expected(1), members) <= 1


def test_refused_credentials_eject_at_once_and_log_an_error(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("app"), "propagate", True)
    of, a, *_ = abc()
    assert fail(of, a, credentials)
    assert set(chosen(of, now=T + 20)) == {"b", "c"}
    (loud,) = {r.getMessage() for r in caplog.records if r.levelno == logging.ERROR}
    assert "a/m" in loud
    assert "check its api_key" in loud


def test_400_counts_as_healthy():
    of, a, *_ = abc()
    for _ in range(4):
        fail(of, a, ill)
    fail(of, a, Rejected("your input is invalid"))
    assert not fail(of, a, ill)


def test_short_deadline_is_no_failure_of_the_provider():
    of, a, *_ = abc()
    for _ in range(20):
        fail(of, a, ProviderTimeout("did not answer in time"), seconds=0.2)
    assert a.breaker.state(T) == "ok"
    for _ in range(5):
        fail(of, a, ProviderTimeout("did not answer in time"), seconds=5.0)
    assert a.breaker.state(T) == "ejected"


def test_calls_in_flight_at_an_ejection_do_not_extend_it():
    """64 calls fail in the same short outage: one ejection of a second, not of a minute."""
    of, a, *_ = abc()
    for _ in range(64):
        fail(of, a, refused)
    assert a.breaker.ejections_ever == 1
    assert a.breaker.may_be_called(T + 1)


@pytest.mark.parametrize("error", [refused, ProviderTimeout("hurry")], ids=lambda e: e.cause)
def test_call_in_flight_at_an_ejection_allows_no_second_probe(error):
    of, a, *_ = abc()
    eject(of, a)
    now = T + 100
    assert a.breaker.may_be_called(now)
    assert a.standing.record_submitted(now)  # the probe is in flight …
    fail(of, a, error, now, seconds=100.5)  # … when an older call ends
    assert not a.breaker.may_be_called(now + 1e-6)
    assert not a.breaker.may_be_called(now + 10)


def test_older_answer_does_not_end_an_ejection():
    of, a, *_ = abc()
    eject(of, a)
    a.standing.record_submitted(T + 1)
    succeed(of, a, seconds=2, now=T + 1.5)
    assert a.breaker.is_ejected
    succeed(of, a, seconds=0.5, now=T + 1.5)
    assert not a.breaker.is_ejected


def silent_pool(limit_known=True):
    """ "a", usually answering in 0.1 s, has not answered since T; "b" answers."""
    of, a, b, _ = abc()
    for _ in range(20):
        if limit_known:
            succeed(of, a, 0.1)
        succeed(of, b, 0.1)
    a.standing.call_started(object(), 1, T)
    return of, a, b


def test_silent_deployment_is_ejected_while_another_answers():
    of, a, b = silent_pool()
    assert succeed(of, b, 0.1, T + 0.9) == []
    assert succeed(of, b, 1.5, T + 1.2) == []  # that call left earlier: no proof
    assert succeed(of, b, 0.1, T + 1.2) == [a]
    assert a.breaker.is_ejected
    assert succeed(of, b, 0.1, T + 1.3) == []


def test_deployment_without_known_latency_may_be_silent_longer():
    of, a, b = silent_pool(limit_known=False)
    assert succeed(of, b, 0.1, T + 9) == []
    assert succeed(of, b, 0.1, T + 10.1) == [a]


def refused_batch(deployment, kind="kind"):
    return batch(attempt(deployment, kind=kind))


def test_400_is_not_trusted_without_a_success_of_its_kind():
    of, a, *_ = abc()
    assert not of.ejector.record_refusal(refused_batch(a), T, T + 0.1)
    succeed(of, a, now=T + 1)
    assert of.ejector.record_refusal(refused_batch(a), T + 1, T + 2)
    assert not of.ejector.record_refusal(refused_batch(a, "another kind"), T + 1, T + 2)
    assert not of.ejector.record_refusal(refused_batch(a), T + 61, T + 62)


def test_400_of_the_only_deployment_is_trusted():
    a = deployment("a")
    assert pool(a).ejector.record_refusal(refused_batch(a), T, T)


def test_refuted_400s_eject_also_the_last_deployment():
    of, *members = abc()
    for member in members:
        assert [of.ejector.record_refuted_400(attempt(member), T) for _ in range(3)] == [
            False,
            False,
            True,
        ]


@pytest.mark.parametrize("error", [ill, ProviderTimeout("did not answer in time")], ids=type)
def test_call_beside_the_probe_neither_ends_it_nor_ejects_for_longer(error):
    """A request that only the ejected deployment can serve is sent there, whatever its health."""
    of, a, *_ = abc()
    eject(of, a)
    ejections = a.breaker.ejections_ever
    assert a.standing.record_submitted(T + 1)
    assert not of.ejector.record_failure(a, error, 1, T + 1.1, T + 1.2, is_probe=False)
    assert a.breaker.is_probing
    assert a.breaker.ejections_ever == ejections
    of.ejector.record_success(batch(attempt(a, is_probe=True)), T + 1, T + 1.3)
    assert not a.standing.is_ejected


@pytest.mark.parametrize(("calls_at_once", "rises"), [(1, False), (8, True)])
def test_deployment_learns_from_a_success_among_so_many_calls(calls_at_once, rises):
    of, a, *_ = abc()
    for _ in range(10):
        succeed(of, a)
    before = a.unslowed_calls.most
    answered = batch(attempt(a))
    answered.calls_at_once = calls_at_once
    of.ejector.record_success(answered, T - 0.05, T)
    assert (a.unslowed_calls.most > before) == rises
