"""The cost of limits and of a ledger row for a request, in function calls.

It does not depend on the load of the machine; ``python -m bench.extras`` measures time. The numbers
were 5, 75 and 165 for limits, and 12 for a row.
"""

import pytest

from app.config import DeploymentSettings, ModelSettings
from app.domain import Caller, EmbeddingRequest, Outcome, Vectors
from app.limits.counters.memory import MemoryWindows
from app.limits.limiter import Limiter
from app.limits.pricing import Prices
from app.usage.record import Recorder
from tests.support.cost import calls_of
from tests.usage.conftest import exchange

MODELS = {"m": ModelSettings("m", (DeploymentSettings("p", "d", price_per_million_tokens=0.1),))}
MINUTE = {"requests_per_minute": 10**6, "tokens_per_minute": 10**6}
MONTH = {"tokens_per_day": 10**9, "tokens_per_month": 10**9, "dollars_per_month": 1000}
USER = {"user_requests_per_minute": 10**6, "user_tokens_per_minute": 10**6}


def calls(work) -> int:
    """Count the function calls of a request after a warm-up."""
    for _ in range(3):
        work()
    return calls_of(work)


@pytest.mark.parametrize(
    ("limits", "most"),
    [({}, 10), (MINUTE, 95), (MINUTE | MONTH | USER, 215)],
)
def test_calls_per_request_grow_with_number_of_limits(limits, most):
    limiter, caller = Limiter(MemoryWindows(), Prices(MODELS)), Caller("team", **limits)
    request = EmbeddingRequest("m", ["a short text to embed"], user="u-1")
    outcome = Outcome(Vectors([b"1234"], [5]), "p", 1, purchases={("p", "x"): 5})

    def work():
        grant = limiter.admit(caller, request)
        if grant is not None:
            limiter.settle(grant, outcome, outcome.purchases)

    assert calls(work) < most


def test_calls_for_a_ledger_row_are_few():
    recorder, ended = Recorder(MODELS), exchange(user="u-1")
    assert calls(lambda: recorder.row(ended, 200, "w", 1)) < 30
