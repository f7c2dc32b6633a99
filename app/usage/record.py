"""A finished exchange → its row in the ledger. Pure functions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.config import ModelSettings

if TYPE_CHECKING:
    from app.api.exchange import Exchange

#: A row's values, in the order of `COLUMNS`; JSON keeps it as it is.
Row = list[Any]

#: ``writer`` and ``number`` make a row unique: a random word for the process, and its count of
#: rows. A request's id cannot, for it may be the client's own, and clients repeat theirs.
COLUMNS = (
    "writer",
    "number",
    "time",  # milliseconds since 1970 in UTC, when the answer was ready
    "request_id",
    "key",  # the caller's name; empty: nobody we know
    "user",  # the field of the request; empty: none
    "model",  # empty: none that there is
    "provider",  # several with commas; empty: all from the cache, or none
    "deployment",  # the provider's name of the model
    "items",
    "prompt_tokens",
    "billed_tokens",  # without those from the cache
    "cached_tokens",
    "cost",  # billionths of a dollar
    "ms",
    "status",
    "error_code",  # empty: none
)
STATUS, KEY = COLUMNS.index("status"), COLUMNS.index("key")
_NANO = 1_000  # billionths of a dollar a token, for a dollar per million


@dataclass(frozen=True, slots=True)
class _Served:
    """What the settings say of a model at a provider, or at several."""

    deployment: str
    price: float  # dollars, of a million tokens


class Recorder:
    """Knows what the settings say, so that a row needs no look-up but one."""

    def __init__(self, models: Mapping[str, ModelSettings]) -> None:
        self._models = models
        self._served: dict[tuple[str, str], _Served] = {}  # grows to what there is, no further

    def row(self, exchange: Exchange, status: int, writer: str, number: int) -> Row:
        caller, asked = exchange.caller, exchange.request
        outcome, error = exchange.outcome, exchange.error
        # Whatever a client writes there would else be kept, at any length.
        model = asked.model if asked is not None and asked.model in self._models else ""
        row = [
            writer,
            number,
            int(time.time() * 1000),
            exchange.id,
            caller.name if caller is not None else "",
            # PostgreSQL takes no NUL.
            (asked.user or "").replace("\0", "\ufffd") if asked is not None else "",
            model,
        ]
        items = len(asked.items) if asked is not None else 0
        if outcome is None:
            row += ["", "", items, 0, 0, 0, 0]
        else:
            served = self._serving(model, outcome.provider)
            tokens, cached = outcome.prompt_tokens, outcome.cached_tokens
            cost = round((tokens - cached) * served.price * _NANO)
            row += [outcome.provider, served.deployment, items]
            row += [tokens, tokens - cached, cached, cost]
        code = (error.code or error.type) if error is not None else ""
        row += [round(exchange.seconds * 1000), status, code]
        return row

    def _serving(self, model: str, provider: str) -> _Served:
        served = self._served.get((model, provider))
        if served is None:
            served = self._served[model, provider] = self._find(model, provider)
        return served

    def _find(self, model: str, provider: str) -> _Served:
        """An outcome tells providers and not how much each did: the dearest sets the price."""
        names = provider.split(",")
        found = [d for d in self._models[model].deployments if d.provider in names]
        prices = [d.price_per_million_tokens for d in found]
        deployments = ",".join(dict.fromkeys(d.model for d in found))
        return _Served(deployments, max(prices, default=0.0))


def is_metered(exchange: Exchange) -> bool:
    """Whether this is a request for embeddings, under whichever of its paths."""
    return exchange.method == "POST" and exchange.path.rstrip("/").endswith("/embeddings")
