"""A request that one deployment can serve is sent there whatever its health."""

import pytest

from app.errors import NoProviderAvailable, UpstreamFailed
from app.providers.base import Capabilities
from tests.dispatch.arrangements import START, codes, load, models
from tests.dispatch.members import between, dead, good
from tests.dispatch.simulator import simulated

TAKES = {"a": Capabilities(dimensions=True), "b": Capabilities(dimensions=False)}
ONE_TAKES_DIMENSIONS = {
    "takes": TAKES,
    "model_settings": {"m": {"dimensions": 8, "matryoshka": False}},
}


def test_request_that_suits_only_an_ejected_deployment_gets_its_error():
    members = {"a": dead, "b": good()}
    with simulated(members, models("a", "b"), **ONE_TAKES_DIMENSIONS) as run:
        load(run, 40, 0.05)
        asked = [run.ask("m", [f"x {n}"], 2 + n, dimensions=4) for n in range(5)]
        run.world.run()
        assert run.deployment("a").breaker.is_ejected
        assert {type(one.error) for one in asked} == {UpstreamFailed}
        assert all("could not be reached" in one.error.message for one in asked)


def test_request_that_suits_only_an_ejected_deployment_is_served_once_that_is_back():
    members = {"a": between(START, START + 3, dead, good()), "b": good()}
    with simulated(members, models("a", "b"), **ONE_TAKES_DIMENSIONS) as run:
        load(run, 58, 0.05)
        run.ask("m", ["x"], 3.001, dimensions=4)
        run.world.run()
        assert codes(run.asked) == {"ok": 59}


@pytest.mark.parametrize("dimensions", [None, 8])
def test_request_that_suits_two_ejected_deployments_gets_503(dimensions):
    with simulated({"a": dead, "b": dead}, models("a", "b"), **ONE_TAKES_DIMENSIONS) as run:
        load(run, 40, 0.05, dimensions=dimensions)
        late = run.ask("m", ["x"], 2, dimensions=dimensions)
        run.world.run()
        assert isinstance(late.error, NoProviderAvailable)
