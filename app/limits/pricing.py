"""Compute the cost of tokens from the prices of deployments, in billionths of a dollar."""

from __future__ import annotations

import math
from collections.abc import Mapping

from app.config import ModelSettings
from app.domain import Source

#: Billionths of a dollar in one dollar. Costs are counted in them: even one token of the cheapest
#: model then costs a whole number.
NANODOLLARS = 1_000_000_000


class Prices:
    """The prices of tokens, from ``price_per_million_tokens`` of the deployments."""

    def __init__(self, models: Mapping[str, ModelSettings]) -> None:
        # By model and deployment: billionths of a dollar a token.
        self._prices: dict[str, dict[Source, float]] = {}
        for name, model in models.items():
            prices = self._prices[name] = {}
            for d in model.deployments:
                source, price = (d.provider, d.model), d.price_per_million_tokens
                prices[source] = max(price * NANODOLLARS / 1e6, prices.get(source, 0.0))
        self._highest = {m: max(prices.values(), default=0.0) for m, prices in self._prices.items()}

    def max_cost_of(self, model: str, tokens: int) -> int:
        """Return the cost at the most expensive deployment, in billionths of a dollar."""
        return math.ceil(self._highest.get(model, 0.0) * tokens)

    def cost_of(self, model: str, purchases: Mapping[Source, int]) -> int:
        """Return the cost of the tokens bought, in billionths of a dollar, rounded up."""
        if not self._highest.get(model):
            return 0
        prices = self._prices[model]
        return math.ceil(sum(prices.get(source, 0.0) * n for source, n in purchases.items()))
