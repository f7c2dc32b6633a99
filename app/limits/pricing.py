"""What tokens cost: the prices of deployments, in whole billionths of a dollar."""

from __future__ import annotations

import math
from collections.abc import Mapping

from app.config import ModelSettings
from app.domain import Source

#: Billionths in a dollar. Money is counted in them: whole numbers, also for one token of the
#: cheapest model.
NANODOLLARS = 1_000_000_000


class Prices:
    """What tokens cost, by ``price_per_million_tokens`` of the deployments."""

    def __init__(self, models: Mapping[str, ModelSettings]) -> None:
        self._of: dict[str, dict[Source, float]] = {}  # billionths of a dollar a token
        for name, model in models.items():
            prices = self._of[name] = {}
            for d in model.deployments:
                price, source = (
                    d.price_per_million_tokens * NANODOLLARS / 1e6,
                    (d.provider, d.model),
                )
                prices[source] = max(price, prices.get(source, 0.0))
        self._dearest = {m: max(prices.values(), default=0.0) for m, prices in self._of.items()}

    def expected(self, model: str, tokens: int) -> int:
        """The cost at the dearest deployment, in billionths of a dollar."""
        return math.ceil(self._dearest.get(model, 0.0) * tokens)

    def cost_of(self, model: str, purchases: Mapping[Source, int]) -> int:
        """The cost of tokens bought, by deployment, in billionths of a dollar, rounded up."""
        if not self._dearest.get(model):
            return 0
        prices = self._of[model]
        return math.ceil(sum(prices.get(source, 0.0) * n for source, n in purchases.items()))
