"""Makes the ledger's row of a finished request."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from app.config import ModelSettings
from app.database.columns import COLUMNS
from app.limits.pricing import Prices

if TYPE_CHECKING:
    from app.exchange import Exchange

#: Values of one row, in the order of `COLUMNS`; all of them types of JSON.
Row = list[Any]

_TEXTS = frozenset(COLUMNS) & {
    *("writer", "request_id", "key", "user", "model", "provider", "deployment"),
    *("error_code", "space", "service_tier"),
}
_TYPES = tuple(str if name in _TEXTS else int for name in COLUMNS)
#: Values of the newest columns in rows of versions before them.
_ADDED = ("", "default")  # space, service_tier
_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")
STATUS, KEY = COLUMNS.index("status"), COLUMNS.index("key")


class Recorder:
    """Makes rows, with the models of the settings and their prices."""

    def __init__(self, models: Mapping[str, ModelSettings]) -> None:
        self._models = models
        self._prices = Prices(models)

    def row(self, exchange: Exchange, status: int, writer: str, number: int) -> Row:
        """Return the row of a finished request, with its time and its cost."""
        caller, request = exchange.caller, exchange.request
        outcome, error = exchange.outcome, exchange.error
        # Only configured models: a client could otherwise fill the column with long texts.
        model = request.model if request is not None and request.model in self._models else ""
        row = [
            writer,
            number,
            int(time.time() * 1000),
            exchange.id,
            _storable(caller.name) if caller is not None else "",
            _storable(request.user or "") if request is not None else "",
            model,
        ]
        items = len(request.items) if request is not None else 0
        purchases = exchange.purchases
        tokens = outcome.prompt_tokens if outcome is not None else 0
        cached = outcome.cached_tokens if outcome is not None else 0
        sources = outcome.sources if outcome is not None else list(purchases)
        provider = outcome.provider if outcome is not None else _joined([n for n, _ in sources])
        row += [provider, _joined([name for _, name in sources]), items, tokens]
        row += [sum(purchases.values()), cached, self._prices.cost_of(model, purchases)]
        code = (error.code or error.type) if error is not None else ""
        row += [round(exchange.seconds * 1000), status, code, exchange.space]
        row.append(request.flow.tier if request is not None else "")
        return row


def row_of(value: object) -> Row | None:
    """Return the row of a value read from JSON; None if it has not its columns and types.

    Rows of before 0.3.0 have no space and no service tier, and get an empty one and "default".
    """
    if not isinstance(value, list):
        return None
    missing = len(COLUMNS) - len(value)
    row = [*value, *_ADDED[-missing:]] if 0 < missing <= len(_ADDED) else value
    return row if tuple(map(type, row)) == _TYPES else None


def _storable(text: str) -> str:
    """Replace NUL (PostgreSQL refuses it) and lone surrogates by U+FFFD."""
    return _NOT_STORABLE.sub("\ufffd", text)


def _joined(names: list[str]) -> str:
    return ",".join(dict.fromkeys(filter(None, names)))
