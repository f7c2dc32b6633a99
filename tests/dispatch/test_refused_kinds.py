"""A kind of request that no deployment embeds gets its 400, also without a retry to check it."""

import pytest

from app.config.sections.dispatch import DispatchSettings
from app.errors import Rejected
from tests.dispatch.arrangements import codes, load, models
from tests.dispatch.members import POISON, good
from tests.dispatch.simulator import simulated
from tests.dispatch.test_refusals_trusted import refuses_all

AB = models("a", "b")


def refuses_queries(world, call):
    if call.input_type is None:
        return 0.05, None
    return 0.01, Rejected("input_type is not supported")


def queries(run, number, every, after=0.0):
    return load(run, number, every, after, input_type="query", timeout=30)


@pytest.mark.parametrize("names", ["ab", "abc"])
@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("others", [0, 50], ids=["alone", "beside others"])
def test_client_that_sends_only_what_all_deployments_refuse_gets_400s(names, merge, others):
    members = dict.fromkeys(names, refuses_queries)
    with simulated(members, models(*names), merge=merge) as run:
        bad, texts = queries(run, 1000, 0.05), load(run, others, 1.0)
        run.world.run()
        assert codes(bad) == {"BadRequest": 1000}
        assert codes(texts) == ({"ok": others} if others else {})
        assert len(run.calls()) < 1.25 * 1000 + others + 40  # within the retry budget


def test_clients_that_send_at_once_what_all_deployments_refuse_get_400s():
    with simulated(dict.fromkeys("ab", refuses_queries), AB, concurrency=64, merge=False) as run:
        first = queries(run, 20, 0.05)
        bad = [one for i in range(40) for one in queries(run, 30, 0.0, after=5 + i)]
        run.world.run()
        assert codes(first) == {"BadRequest": 20}
        assert codes(bad)["BadRequest"] > 0.9 * len(bad)


@pytest.mark.parametrize("bad_texts", [1, 5, 40])
@pytest.mark.parametrize("tier", [0, 1])
@pytest.mark.parametrize("ratio", [0.0, 0.2])
def test_kind_that_one_deployment_has_served_gets_no_400_of_one_that_refuses_all(
    bad_texts, tier, ratio
):
    """Both refuse bad texts, until the retry budget is used up; then come good ones."""
    deployments = {"m": [{"provider": "a"}, {"provider": "b", "tier": tier}]}
    settings = DispatchSettings(retry_ratio=ratio)
    with simulated({"a": refuses_all, "b": good()}, deployments, dispatch=settings) as run:
        served = load(run, 3, 1.0)
        for i in range(bad_texts):
            run.ask("m", [f"{POISON} {i}"], 10 + i, timeout=30)
        asked = load(run, 300, 0.1, after=10 + bad_texts, timeout=30)
        run.world.run()
        assert "ok" in codes(served)
        assert "BadRequest" not in codes(asked)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tier", [0, 1])
def test_few_bad_texts_are_no_reason_to_believe_a_deployment_that_refuses_all(tier, seed):
    """No deployment has served anything before, and no 400 is checked after the bad texts."""
    deployments = {"m": [{"provider": "a"}, {"provider": "b", "tier": tier}]}
    few = DispatchSettings().trusted_400s - 1
    settings = DispatchSettings(retry_ratio=0.0, saved_retries=few)
    members = {"a": refuses_all, "b": good()}
    with simulated(members, deployments, seed=seed, dispatch=settings) as run:
        bad = [run.ask("m", [f"{POISON} {i}"], i * 0.1) for i in range(few)]
        asked = load(run, 100, 0.1, after=10, timeout=30)
        run.world.run()
        assert codes(bad) == {"BadRequest": few}
        assert "BadRequest" not in codes(asked)
