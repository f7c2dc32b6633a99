"""A provider's 400 reaches the caller only if the request is bad."""

import pytest

from app.errors import CredentialsRefused, Rejected, Throttled
from tests.dispatch.arrangements import codes, load, models, waited
from tests.dispatch.members import POISON, between, failing, good, throttling
from tests.dispatch.parts import T, attempt, deployment, part
from tests.dispatch.simulator import simulated

AB = models("a", "b")
SECOND_TIER = {"m": [{"provider": "a"}, {"provider": "b", "tier": 1}]}


def refuses_all(world, call):
    return 0.01, Rejected("API version not supported")


def refuses_slow_ones(world, call):
    if call.items[0].startswith("slow"):
        return 0.01, Rejected("too long for this one")
    return 0.05, None


def takes_for_slow_ones(seconds):
    return lambda world, call: (seconds if call.items[0].startswith("slow") else 0.05, None)


def calls_with(run, item):
    return [call for call in run.calls() if item in call.items]


@pytest.mark.parametrize("seed", range(3))
def test_400_of_a_deployment_that_refuses_all_reaches_no_caller(seed):
    with simulated({"a": good(), "b": refuses_all}, AB, seed=seed) as run:
        asked = load(run, 1000, 0.05, timeout=30)
        run.world.run()
        assert codes(asked) == {"ok": 1000}


def test_deployment_with_refuted_400s_is_ejected_after_three():
    with simulated({"a": good(), "b": refuses_all}, AB) as run:
        load(run, 1000, 0.05, timeout=30)
        run.world.run()
        began = [call.began for call in run.calls("b")]
        assert run.deployment("b").breaker.ejections_ever >= 1
        # Three refuted, and those that had left by then.
        assert len([at for at in began if at < began[2] + 0.5]) <= 5
        assert len(began) <= 20  # probes, further and further apart


def test_deployment_that_begins_to_refuse_everything_fails_no_requests_while_others_are_slow():
    """Others take seconds to refute its 400s, and it would refuse many requests meanwhile."""
    ill = between(1020, 1e9, refuses_all, good(2.0))
    with simulated({"a": good(2.0), "b": ill}, AB, concurrency=64) as run:
        asked = load(run, 3000, 0.02, timeout=30)
        run.world.run()
        assert set(codes(asked)) == {"ok", "BadRequest"}
        assert codes(asked)["BadRequest"] < 40


def test_bad_texts_get_their_400_while_the_400s_of_a_deployment_are_in_doubt():
    """They go to the second tier first, whose 400s nothing has shown to be right."""
    with simulated({"a": good(0.5), "b": good(0.5)}, SECOND_TIER, merge=False) as run:
        asked = load(run, 300, 0.1, timeout=30)
        bad = [run.ask("m", [f"{POISON} {i}"], i * 0.05, timeout=30) for i in range(600)]
        run.world.run()
        assert codes(asked) == {"ok": 300}
        assert codes(bad) == {"BadRequest": 600}


def test_deployment_that_begins_to_refuse_everything_is_ejected_within_a_minute():
    """Its first 400s are trusted, because it has just served requests."""
    ill = between(1020, 1e9, refuses_all, good())
    with simulated({"a": good(), "b": ill}, AB) as run:
        asked = load(run, 4000, 0.05, timeout=30)
        run.world.run()
        assert not [one for one in asked if one.at > 1085 and one.error]


def test_400_is_trusted_at_once_after_a_recent_success():
    with simulated({"a": good(), "b": good()}, AB) as run:
        load(run, 200, 0.05)
        bad = run.ask("m", [f"{POISON} late"], after=10)
        run.to_the_end()
        assert bad.error.status == 400
        assert len(calls_with(run, f"{POISON} late")) == 1


def test_400_without_a_success_is_checked_once_elsewhere():
    with simulated(dict.fromkeys("abc", good()), models("a", "b", "c")) as run:
        bad = run.ask("m", [f"{POISON} early"])
        run.to_the_end()
        assert bad.error.status == 400
        assert len(calls_with(run, f"{POISON} early")) == 2


def test_400_of_the_only_deployment_is_trusted_at_once():
    with simulated({"a": good()}, models("a")) as run:
        bad = run.ask("m", [f"{POISON} early"])
        run.to_the_end()
        assert bad.error.status == 400
        assert len(run.calls()) == 1


def test_checks_of_400s_are_within_the_retry_budget():
    with simulated({"a": good(), "b": good()}, AB, merge=False) as run:
        load(run, 20, 0.05)
        bad = [run.ask("m", [f"{POISON} {i}"], after=2 + i * 0.05) for i in range(1000)]
        run.to_the_end()
        assert codes(bad) == {"BadRequest": 1000}
        assert len(run.calls()) <= 1020 * 1.2 + 20


def test_one_bad_text_is_no_reason_to_trust_the_400s_of_a_broken_deployment():
    """Both refuse the first text; then a refuses all, as it always has, and b fails all."""
    members = {"a": refuses_all, "b": between(1000.5, 1e9, failing(1), good())}
    with simulated(members, SECOND_TIER) as run:
        bad = run.ask("m", [POISON])
        good_ones = load(run, 60, 1.0, after=1, timeout=5)
        run.to_the_end()
        assert codes([bad]) == {"BadRequest": 1}
        assert codes(good_ones) == {"upstream_error": 60}


def test_bad_texts_eject_no_deployment():
    with simulated({"a": good(), "b": good()}, AB, merge=False) as run:
        load(run, 200, 0.05)
        bad = [run.ask("m", [f"{POISON} {i}"], after=1 + i * 0.1) for i in range(90)]
        run.to_the_end()
        assert codes(bad) == {"BadRequest": 90}
        for name in "ab":
            assert run.deployment(name).breaker.ejections_ever == 0


def test_one_bad_text_in_a_batch_ejects_no_deployment():
    """Its 400 is not trusted yet, and another deployment embeds the rest of the batch."""
    with simulated({"a": good(0.2), "b": good(0.2)}, AB, concurrency=1) as run:
        for i in range(4):
            run.ask("m", [f"{POISON} {i}"], after=i * 0.001)
        load(run, 40, 0.0002)
        run.world.run()
        assert any(len(call.items) > 3 and call.error for call in run.calls())
        for name in "ab":
            assert run.deployment(name).breaker.ejections_ever == 0


def test_good_texts_of_a_refused_batch_get_no_400_of_a_broken_deployment():
    """Batch of c: five good texts and a bad one. Each fails over, alone, to a, which is broken."""
    deployments = {
        "m": [{"provider": "c"}, {"provider": "a", "tier": 1}],
        "n": [{"provider": "c"}],
    }
    options = {"providers": {"a": {"merge": False, "concurrency": 64}}, "concurrency": 1}
    with simulated({"a": refuses_all, "c": good(0.2)}, deployments, **options) as run:
        run.ask("n", ["other model"])
        good_ones = [run.ask("m", [f"good {i}"], after=0.05 + i * 0.001) for i in range(5)]
        bad = run.ask("m", [POISON], after=0.06)
        run.to_the_end()
        assert codes(good_ones) == {"ok": 5}
        assert bad.error.message == "your input is invalid"


@pytest.mark.parametrize("seed", range(3))
def test_good_texts_of_a_refused_batch_do_not_fail_because_a_third_deployment_rests(seed):
    deployments = {
        "m": [{"provider": "b"}, {"provider": "c", "tier": 1}, {"provider": "a", "tier": 2}],
        "n": [{"provider": "c"}],
    }
    members = {"a": refuses_all, "b": throttling(0), "c": good(0.2)}
    options = {"providers": {"a": {"merge": False, "concurrency": 64}}, "concurrency": 1}
    with simulated(members, deployments, seed=seed, **options) as run:
        run.ask("n", ["other model"])
        good_ones = [run.ask("m", [f"good {i}"], after=0.05 + i * 0.001) for i in range(5)]
        run.ask("m", [POISON], after=0.06)
        run.to_the_end()
        assert codes(good_ones) == {"ok": 5}


def test_good_text_gets_no_400_while_the_deployment_of_its_refused_batch_rests():
    """a, broken, refuses it alone; b refuses it in a batch with a bad text, then answers 429."""

    def rests_after_a_refusal(world, call):
        if call.model == "m" and len(call.items) == 1:
            return 0.01, Throttled("asked us to slow down (429)", retry_after=60)
        return 0.5, None

    deployments = {
        "m": [{"provider": "a"}, {"provider": "b", "tier": 1}],
        "n": [{"provider": "b"}],
    }
    options = {"providers": {"b": {"concurrency": 1}}, "merge": True}
    with simulated({"a": refuses_all, "b": rests_after_a_refusal}, deployments, **options) as run:
        run.ask("n", ["other model"])
        for i in range(5):
            run.ask("m", [f"good {i}"], after=0.05 + i * 0.02)
        run.ask("m", [POISON], after=0.15)
        run.to_the_end()
        assert set(codes(run.asked[1:-1])) == {"rate_limit_exceeded"}


def test_unchecked_400_of_a_broken_deployment_is_no_400_if_the_other_fails_meanwhile():
    """Each waits for the slot of c to have the 400 of b checked; then c refuses our key."""

    def refuses_our_key(world, call):
        return 0.5, CredentialsRefused("refused our credentials (401)")

    deployments = {"m": [{"provider": "b"}, {"provider": "c", "tier": 1}]}
    options = {"merge": False, "providers": {"c": {"concurrency": 1}}}
    with simulated({"b": refuses_all, "c": refuses_our_key}, deployments, **options) as run:
        load(run, 5, 0.02)
        run.to_the_end()
        assert "BadRequest" not in codes(run.asked)


def test_split_request_gets_no_400_from_a_deployment_that_refuses_all():
    """Its thirty parts use up the retry budget at once; the result is no 400."""
    deployments = {"m": [{"provider": "b", "max_inputs": 2, "weight": 100}, {"provider": "a"}]}
    with simulated({"a": good(0.2), "b": refuses_all}, deployments) as run:
        big = [run.ask("m", [f"{n} {i}" for i in range(60)], after=n * 0.01) for n in range(5)]
        run.to_the_end()
        assert set(codes(big)) <= {"ok", "upstream_error"}


def test_400_of_a_hedge_does_not_end_the_request():
    members = {"a": takes_for_slow_ones(1.0), "b": refuses_slow_ones}
    with simulated(members, SECOND_TIER, hedge=True) as run:
        load(run, 400, 0.05, timeout=30)
        slow = [run.ask("m", [f"slow{i}"], after=25 + i * 3, timeout=30) for i in range(3)]
        run.world.run()
        assert calls_with(run, "slow0")[1:], "no hedge was sent"
        assert codes(slow) == {"ok": 3}


def test_400_of_a_fail_over_does_not_end_the_request():
    members = {"a": takes_for_slow_ones(6.0), "b": refuses_slow_ones}
    with simulated(members, SECOND_TIER) as run:
        load(run, 400, 0.05, timeout=30)
        slow = run.ask("m", ["slow"], after=25, timeout=30)
        run.world.run()
        assert calls_with(run, "slow")[1:], "no other deployment was asked"
        assert codes([slow]) == {"ok": 1}
        assert waited(slow) == pytest.approx(6, abs=0.1)


@pytest.mark.parametrize(
    "other",
    [failing(0.3), throttling(1.0, retry_after=5.0)],
    ids=["fails 30 % of its calls", "rests after 429"],
)
@pytest.mark.parametrize("every", [0.1, 5.0])
def test_wrong_400_beside_a_failing_deployment_reaches_no_caller(other, every):
    with simulated({"a": refuses_all, "b": other}, AB) as run:
        asked = load(run, 600, every, timeout=30)
        run.world.run()
        assert not [one for one in asked if one.error is not None and one.error.status == 400]


@pytest.mark.parametrize("refusals", [1, 11])
def test_a_400_of_a_deployment_in_doubt_stays_in_doubt_when_that_is_back(refusals):
    """It answered 400 to everything for a while; what it refused then is not told to the caller."""
    refusing, refused = deployment("b"), part()
    standing = refusing.standing
    standing.record_success(1, T - 20, T - 19, "kind", tokens=0)
    for _ in range(refusals):
        standing.record_refusal(
            T - 1, T - 0.5, "kind", trusted=False, is_probe=False, is_test=False
        )
    refused.add_failure(attempt(refusing), Rejected("API version not supported"), T)
    standing.record_success(1, T + 1, T + 2, "kind", tokens=0)
    assert refused.is_refused_alone(T + 3) == (refusals == 1)
