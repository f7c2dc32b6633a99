"""Callers with limits, and their requests through a limiter."""

import pytest

from app.config import DeploymentSettings, ModelSettings
from app.domain import Caller, EmbeddingRequest, Outcome, Vectors
from app.errors import QuotaExhausted, RateLimited
from app.limits.pricing import Prices


def caller(requests=None, tokens=None, name="team", **limits):
    return Caller(name, requests_per_minute=requests, tokens_per_minute=tokens, **limits)


def request(tokens=1, **fields):
    """Return a request whose estimate is so many tokens."""
    return EmbeddingRequest("m", [[5] * tokens], **fields)


def outcome(tokens, cached=0, provider="cheap"):
    """Return an outcome with so many tokens of each provider, all or none from the cache."""
    sources = [(name, "x") for name in provider.split(",") if name]
    rows = max(1, len(sources))
    vectors = Vectors([b"1234"] * rows, [tokens] * rows)
    bought = {} if cached else dict.fromkeys(sources, tokens)
    return Outcome(
        vectors, provider=provider, cached_tokens=cached, sources=sources, purchases=bought
    )


def settle(limiter, grant, outcome):
    limiter.settle(grant, outcome, outcome.purchases if outcome is not None else {})


def served(limiter, team, tokens=1, **fields):
    """Admit a request, settle it with its estimate, and return its headers."""
    grant = limiter.admit(team, request(tokens, **fields))
    settle(limiter, grant, outcome(tokens))
    return grant.headers


def left(headers, what):
    return int(headers[f"x-ratelimit-remaining-{what}"])


def refused(limiter, team, *args, **fields):
    with pytest.raises((RateLimited, QuotaExhausted)) as caught:
        limiter.admit(team, request(*args, **fields))
    return caught.value


def priced(**prices):
    deployments = tuple(
        DeploymentSettings(name, "x", price_per_million_tokens=price)
        for name, price in prices.items()
    )
    return Prices({"m": ModelSettings("m", deployments)})
