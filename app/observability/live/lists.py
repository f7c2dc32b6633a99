"""Lists of the last requests: the newest, those that failed, the slowest."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Any, Literal, get_args

Show = Literal["newest", "failed", "slowest"]
SHOWS: tuple[Show, ...] = get_args(Show)
MAX_ROWS = 50
#: The fields of a row, as `app.observability.live.steps.row_of` makes it.
ROW = (
    *("id", "started_at", "key", "user", "model", "status", "code", "side"),
    *("items", "tokens", "cache", "attempts", "total_ms"),
)


def choose(rows: Iterable[dict[str, Any]], show: Show, key: str | None) -> list[dict[str, Any]]:
    """Return the rows to show, in order, of a key's requests; ``key`` None: of all requests."""
    own = (row for row in rows if key is None or row["key"] == key)
    if show == "failed":
        own = (row for row in own if row["code"] is not None)
    first_by = "total_ms" if show == "slowest" else "started_at"
    return heapq.nlargest(MAX_ROWS, own, key=lambda row: row[first_by])
