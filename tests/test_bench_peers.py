"""Other gateways that bench compares with; those that are not installed are skipped."""

import pytest

from bench.load import Load
from bench.runner import Running, check, started, text
from bench.targets import TARGETS, Setup, Target

PEERS = [target for target in TARGETS if target.peer]
START_S = 90  # LiteLLM imports for 6 s on an idle core


def answers_are_the_providers(one: Running, encoding: str) -> None:
    """Send one text and several, and compare the answers with their vectors."""
    for items in 1, 3:
        request = one.request([text(0, i) for i in range(items)], encoding)
        outcome = Load(one.server.port, [request], 2).run(0)
        assert outcome.samples
        check(outcome, one)


@pytest.mark.timeout(START_S)
@pytest.mark.parametrize("target", PEERS, ids=lambda target: target.name)
def test_a_peer_returns_the_vectors_of_the_provider(target: Target):
    if why := target.missing():
        pytest.skip(why)
    with started(Setup(width=8), [target]) as (running, failures):
        assert not failures
        for encoding in "base64", "float":
            answers_are_the_providers(running[0], encoding)
