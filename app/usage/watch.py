"""Abuse: who is refused, who fails, who asks for unusually much. Counters with few labels.

Who a counter speaks of is in the log (a line an hour for each that is unusual) and in the report
(``usage report --by key,user``), never in a label: end users are without number.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from app.concurrency.locks import uncontended_lock
from app.usage.record import is_metered
from app.usage.store import HOUR_MS, Store, Unusual

if TYPE_CHECKING:
    from app.exchange import Exchange

_log = logging.getLogger("app.usage")

Result = Literal["ok", "refused", "invalid", "failed"]
#: Labels of callers that have none of their own: of no key, and of keys that KEYS does not name
#: (the table's, tokens' subjects), which may be many.
NOBODY, OTHER = "", "other"
MAX_KEYS_LABELLED = 200


def result(status: int) -> Result:
    """As the report counts: see `app.usage.queries.measures_of`."""
    if status < 400:
        return "ok"
    if status in (401, 403, 429):
        return "refused"
    return "invalid" if status < 500 else "failed"


class Watch:
    """An observer, and what it saw. ``keys`` are the names that get labels of their own.

    The lock guards ``_requests``; nothing waits under it.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._labels = frozenset(sorted(keys)[:MAX_KEYS_LABELLED])
        self._lock = uncontended_lock()
        self._requests: Counter[tuple[str, Result]] = Counter()
        self._unusual = {"key": 0, "user": 0}

    @property
    def requests(self) -> Mapping[tuple[str, Result], int]:
        """(key, result) → requests that this process answered."""
        return MappingProxyType(self._requests)

    @property
    def unusual(self) -> Mapping[str, int]:
        """``key`` and ``user`` → how many went over the limits of USAGE["unusual"] within the
        last hour, in the whole database."""
        return MappingProxyType(self._unusual)

    def started(self, exchange: Exchange, environ: Mapping[str, Any]) -> None:
        """Nothing: all that counts is known at the end."""

    def finished(self, exchange: Exchange, status: int) -> None:
        if is_metered(exchange):
            name = exchange.caller.name if exchange.caller is not None else NOBODY
            label = name if name in self._labels or name == NOBODY else OTHER
            with self._lock:
                self._requests[label, result(status)] += 1

    def take(self, found: Iterable[Mapping[str, Any]]) -> None:
        """The unusual ones of the last hour: of a key where ``user`` is empty."""
        counts = Counter("user" if who["user"] else "key" for who in found)
        self._unusual.update(key=counts["key"], user=counts["user"])


class VolumeAlert:
    """A chore: asks the ledger who was unusual in the last hour, and warns of each once in it."""

    def __init__(self, store: Store, unusual: Unusual, watch: Watch) -> None:
        self._store = store
        self._limits = unusual
        self._watch = watch
        self._warned: dict[tuple[str, str], float] = {}

    def __call__(self) -> None:
        found = self._store.unusual(int(time.time() * 1000) - HOUR_MS, self._limits)
        self._watch.take(found)
        now = time.monotonic()
        self._warned = {who: at for who, at in self._warned.items() if at > now - 3600}
        for entry in found:
            who = (entry["key"], entry["user"])
            if who not in self._warned:
                self._warned[who] = now
                _log.warning(
                    "unusual volume: key %r, user %r: %d requests, %d tokens within an hour",
                    *who,
                    entry["requests"],
                    entry["prompt_tokens"],
                )
