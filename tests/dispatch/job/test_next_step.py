"""What a decision after a failure does to the part."""

import random

import pytest

from app.dispatch.job.context import Effects
from app.dispatch.job.part import PartState
from app.dispatch.job.parts import Parts
from app.dispatch.job.retry import Fail, FailOver, NextStep, Retry, Wait, WaitForRest
from app.errors import ProviderUnavailable
from tests.dispatch.asking import Asking
from tests.dispatch.parts import SEED, T, attempt, deployment

FAILED = ProviderUnavailable("failed with 503")


class Failed:
    """A part whose only attempt has failed."""

    def __init__(self):
        asking = Asking(deployment("a"))
        self.retries = asking.pool.retries
        self.deployment = asking.deployments[0]
        self.parts = Parts([1], Effects(), asking.context.request.flow)
        self.part, self.attempt = self.parts.waiting.pop(), attempt(self.deployment)
        self.parts.transition(self.part, PartState.RUNNING, self.attempt)
        self.parts.take_result(self.attempt)
        self.part.add_failure(self.attempt, FAILED, T)
        self._step = NextStep(asking.context, self.parts, random.Random(SEED))

    def carry_out(self, decision):
        return self._step.carry_out(self.part, self.attempt, FAILED, decision, T)


@pytest.mark.parametrize(
    ("decision", "is_avoided", "is_charged"), [(Wait(), True, True), (WaitForRest(), False, False)]
)
def test_only_the_wait_for_a_rest_calls_the_same_deployment_again(decision, is_avoided, is_charged):
    failed = Failed()
    assert failed.carry_out(decision) is None
    assert (failed.deployment in failed.part.last_errors) == is_avoided
    assert failed.part.must_charge_retry == is_charged
    assert failed.parts.waiting == [failed.part]


@pytest.mark.parametrize("decision", [Retry(cost=1.0), FailOver(cost=1.0)])
def test_budget_that_another_request_has_spent_since_the_decision_ends_the_part(decision):
    failed = Failed()
    assert failed.carry_out(decision) is None
    assert failed.parts.waiting == [failed.part]
    while failed.retries.spend():
        pass
    assert failed.carry_out(decision) == Fail()
