"""Exchanges of finished requests, and a clock that tests set."""

import pytest

from app.domain import Caller, EmbeddingRequest, Outcome, Vectors
from app.exchange import Exchange
from app.limits.periods import Calendar
from app.limits.pricing import Prices
from app.observability.live.observer import Live
from app.observability.request_record import RequestRecords

T = 1_700_000_000.0  # a bucket begins here
SOURCE = ("p", "upstream")


class FakeDeployment:
    """What figures use of a deployment."""

    source = SOURCE


DEPLOYMENT = FakeDeployment()


class Clock:
    """Seconds since 1970."""

    def __init__(self, now=T):
        self.now = now

    def __call__(self):
        return self.now


class FixedPrices(Prices):
    """A billionth of a dollar a token."""

    def __init__(self):
        super().__init__({})

    def cost_of(self, model, purchases):
        return sum(purchases.values())


def exchange(request_id="r", *, key="a", error=None, tokens=3, cached=0, calls=None, **fields):
    """Return a finished exchange of one item."""
    request = EmbeddingRequest("m", ["a text"], user="someone", calls=calls)
    outcome = None
    if error is None:
        vectors = Vectors([b"1234"], [tokens])
        cache = "hit" if cached else "miss"
        outcome = Outcome(
            vectors, "p", 1, 0.5, 0.1, cache, cached, [SOURCE], {SOURCE: tokens - cached}
        )
    caller = Caller(key) if key is not None else None
    return Exchange(
        request_id,
        "POST",
        "/v1/embeddings",
        caller=caller,
        request=request,
        outcome=outcome,
        error=error,
        route="api.embeddings",
        **fields,
    )


def finish(live, finished, status):
    """End an exchange."""
    RequestRecords(live.keep).finished(finished, status)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def live(clock):
    return Live(FixedPrices(), Calendar("day"), None, clock)
