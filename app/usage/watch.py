"""Detection of abuse: results of requests by key, and unusual volume of keys and end users.

End users are unbounded in number, so they are never labels of a metric. The metric says how many
keys and end users have an unusual volume; the log names each once an hour, and the report
(``usage report --by key,user``) at any time.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from app.concurrency.locks import uncontended_lock
from app.limits.key_labels import NO_KEY, KeyLabels
from app.usage.record import is_metered
from app.usage.store import HOUR_MS, Store, VolumeLimits

if TYPE_CHECKING:
    from app.exchange import Exchange

_log = logging.getLogger("app.usage")

Result = Literal["ok", "refused", "invalid", "failed"]


def result(status: int) -> Result:
    """Return the result that a status counts as, the same as in `app.usage.queries.measures_of`."""
    if status < 400:
        return "ok"
    if status in (401, 403, 429):
        return "refused"
    return "invalid" if status < 500 else "failed"


class Watch:
    """An observer of requests that counts them by key and result.

    ``keys`` are the names of the settings' keys: see `KeyLabels`.

    The lock guards ``_requests``; nothing waits under it.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._labels = KeyLabels(keys)
        self._lock = uncontended_lock()
        self._requests: Counter[tuple[str, Result]] = Counter()
        self._unusual = {"key": 0, "user": 0}

    @property
    def requests(self) -> Mapping[tuple[str, Result], int]:
        """Requests that this process has answered, by (label of the key, result)."""
        return MappingProxyType(self._requests)

    @property
    def unusual(self) -> Mapping[str, int]:
        """Numbers of keys (``key``) and end users (``user``) with an unusual volume.

        They are of the last hour and of the whole database: see `VolumeAlert`.
        """
        return MappingProxyType(self._unusual)

    def started(self, exchange: Exchange, environ: Mapping[str, Any]) -> None:
        """Do nothing: the result is known only when the request has finished."""

    def finished(self, exchange: Exchange, status: int) -> None:
        """Count a request for embeddings."""
        if is_metered(exchange):
            label = self._labels.label(exchange.caller.name if exchange.caller else NO_KEY)
            with self._lock:
                self._requests[label, result(status)] += 1

    def set_unusual(self, groups: Iterable[Mapping[str, Any]]) -> None:
        """Replace the numbers of `unusual`; a group without a ``user`` is a key."""
        counts = Counter("user" if group["user"] else "key" for group in groups)
        self._unusual.update(key=counts["key"], user=counts["user"])


class VolumeAlert:
    """A chore that looks for unusual volume in the last hour, and logs each key and user once."""

    def __init__(self, store: Store, limits: VolumeLimits, watch: Watch) -> None:
        self._store = store
        self._limits = limits
        self._watch = watch
        self._logged_at: dict[tuple[str, str], float] = {}  # by key and user, monotonic

    def __call__(self) -> None:
        groups = self._store.unusual(int(time.time() * 1000) - HOUR_MS, self._limits)
        self._watch.set_unusual(groups)
        now = time.monotonic()
        self._logged_at = {
            name: at for name, at in self._logged_at.items() if at > now - HOUR_MS / 1000
        }
        for group in groups:
            name = (group["key"], group["user"])
            if name not in self._logged_at:
                self._logged_at[name] = now
                _log.warning(
                    "unusual volume: key %r, user %r: %d requests, %d tokens within an hour",
                    *name,
                    group["requests"],
                    group["prompt_tokens"],
                )
