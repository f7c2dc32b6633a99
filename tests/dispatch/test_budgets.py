"""Each model has its own budget of extra calls."""

import pytest

from tests.dispatch.arrangements import START, codes, load
from tests.dispatch.members import failing, flapping, good
from tests.dispatch.simulator import simulated

MODELS = {"m": [{"provider": "a"}, {"provider": "b"}], "n": [{"provider": "c"}]}
TENTH = {"a": failing(0.1), "b": failing(0.1)}


def errors_of_m(sick, seed=0):
    with simulated({**TENTH, "c": failing(0.5)}, MODELS, merge=False, seed=seed) as run:
        asked = load(run, 3000, 0.05, timeout=30)
        if sick:
            load(run, 3000, 0.05, model="n", timeout=30)
        run.to_the_end()
        return 3000 - codes(asked)["ok"]


@pytest.mark.parametrize("seed", range(2))
def test_failing_model_spends_no_retry_budget_of_another(seed):
    assert errors_of_m(sick=True, seed=seed) <= errors_of_m(sick=False, seed=seed) + 3


def test_retries_of_a_model_add_at_most_a_fifth_to_its_calls():
    """The model fails and recovers for ten minutes; another one has five times its requests."""
    members = {"a": flapping(5, 5, failing(0.9)), "b": flapping(7, 5, failing(0.9)), "c": good()}
    with simulated(members, MODELS, merge=False) as run:
        load(run, 1200, 0.5, timeout=30)
        load(run, 6000, 0.1, model="n", timeout=30)
        run.to_the_end()
        assert run.world.now > START + 500
        assert len(run.calls("a", "b")) <= 1200 * 1.2 + 20


def test_each_part_of_a_split_request_earns_its_share_of_a_retry():
    """With one failed call in five, requests of thirty calls do not fail."""
    deployments = {"m": [{"provider": "a", "max_inputs": 2}, {"provider": "b", "max_inputs": 2}]}
    members = {"a": failing(0.2), "b": good()}
    with simulated(members, deployments, merge=False) as run:
        asked = [run.ask("m", [f"{n} {i}" for i in range(60)], after=n * 0.5) for n in range(60)]
        run.world.run()
        assert codes(asked) == {"ok": 60}
