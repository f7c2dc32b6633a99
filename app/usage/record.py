"""A finished exchange → its row in the ledger. Pure functions."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from app.config import ModelSettings
from app.database.columns import COLUMNS
from app.limits.pricing import Prices

if TYPE_CHECKING:
    from app.exchange import Exchange

#: A row's values, in the order of `COLUMNS`; JSON keeps it as it is.
Row = list[Any]

_TEXTS = frozenset(
    ("writer", "request_id", "key", "user", "model", "provider", "deployment", "error_code")
)
_TYPES = tuple(str if name in _TEXTS else int for name in COLUMNS)
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
STATUS, KEY = COLUMNS.index("status"), COLUMNS.index("key")


class Recorder:
    """Knows the models there are, and their prices."""

    def __init__(self, models: Mapping[str, ModelSettings]) -> None:
        self._models = models
        self._prices = Prices(models)

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
            _storable(caller.name) if caller is not None else "",
            _storable(asked.user or "") if asked is not None else "",
            model,
        ]
        items = len(asked.items) if asked is not None else 0
        bought = exchange.purchases
        tokens = outcome.prompt_tokens if outcome is not None else 0
        cached = outcome.cached_tokens if outcome is not None else 0
        provider = outcome.provider if outcome is not None else _names(n for n, _ in bought)
        sources = outcome.sources if outcome is not None else list(bought)
        row += [provider, _names(name for _, name in sources), items, tokens]
        row += [sum(bought.values()), cached, self._prices.cost_of(model, bought)]
        code = (error.code or error.type) if error is not None else ""
        row += [round(exchange.seconds * 1000), status, code]
        return row


def is_row(value: object) -> bool:
    """Whether a value read from JSON has a row's columns, each of its type."""
    return isinstance(value, list) and tuple(map(type, value)) == _TYPES


def _storable(text: str) -> str:
    """The text with U+FFFD for what no database takes: NUL (PostgreSQL) and lone surrogates."""
    return _NO_TEXT.sub("\ufffd", text)


def _names(names: Iterable[str]) -> str:
    return ",".join(dict.fromkeys(name for name in names if name))


def is_metered(exchange: Exchange) -> bool:
    """Whether this is a request for embeddings, under whichever of its paths."""
    return exchange.method == "POST" and exchange.path.rstrip("/").endswith("/embeddings")
