"""Slow start after an ejection; a 404 is not repeated."""

import pytest

from app.config import ProviderSettings
from app.errors import ProviderUnavailable
from app.providers.base import Incoming
from app.providers.kinds import openai
from tests.dispatch.arrangements import START, codes, load, models
from tests.dispatch.members import between, dead, good
from tests.dispatch.simulator import simulated

AB = models("a", "b")


def breaks_above(calls, run):
    """Answer 503 above a number of concurrent calls; a single probe succeeds."""

    def behaviour(world, call):
        if run[0].members["a"].under_way[call.model] > calls:
            return 0.05, ProviderUnavailable("failed with 503")
        return 0.2, None

    return behaviour


@pytest.mark.parametrize("per_second", [50, 200])
def test_deployment_that_fails_under_its_share_is_ejected_rarely(per_second):
    """Two minutes; half of the load is 5 or 20 calls at once, of which 4 are served."""
    holder = []
    members = {"a": breaks_above(4, holder), "b": good(0.2)}
    with simulated(members, AB, merge=False) as run:
        holder.append(run)
        asked = load(run, 120 * per_second, 1 / per_second, timeout=30)
        run.to_the_end()
        assert run.deployment("a").breaker.ejections_ever <= 15
        assert codes(asked)["ok"] >= 0.99 * len(asked)


def test_recovered_deployment_has_its_share_within_half_a_minute():
    members = {"a": between(START + 5, START + 10, dead, good(0.2)), "b": good(0.2)}
    with simulated(members, AB, merge=False) as run:
        load(run, 3000, 0.02)
        run.to_the_end()
        assert not run.errors()
        late = [call for call in run.calls() if call.began > START + 40]
        mine = [call for call in run.calls("a") if call.began > START + 40]
        assert 0.4 <= len(mine) / len(late) <= 0.6


def test_recovered_deployment_does_not_get_its_share_at_once():
    members = {"a": between(START + 5, START + 10, dead, good(0.2)), "b": good(0.2)}
    with simulated(members, AB, merge=False) as run:
        load(run, 3000, 0.02)
        run.to_the_end()
        back = min(c.began for c in run.calls("a") if c.began > START + 10 and c.error is None)
        first = [c for c in run.calls("a") if back <= c.began < back + 1]
        assert len(first) <= 12  # of 50 requests, of which 25 are its full share


def not_found(world, call):
    """Return the error of a provider's 404."""
    wire = openai.make(ProviderSettings("a", "openai", api_key="sk-unknown"))
    return 0.01, wire.refuse(Incoming(404, {}, b'{"error": {"message": "no such model"}}'), ())


def test_a_404_of_the_only_provider_is_not_repeated():
    with simulated({"a": not_found}, models("a")) as run:
        asked = run.ask("m", ["x"])
        run.to_the_end()
        assert codes([asked]) == {"upstream_error": 1}
        assert len(run.calls()) == 1


def test_a_404_of_one_provider_goes_to_the_next_at_once():
    with simulated({"a": not_found, "b": good()}, AB) as run:
        asked = load(run, 500, 0.05)
        run.to_the_end()
        assert codes(asked) == {"ok": 500}
        assert all(one.outcome.attempts <= 2 for one in asked)
        assert len(run.calls("a")) <= 20
