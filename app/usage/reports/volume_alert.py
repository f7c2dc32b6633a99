"""Looks for keys and end users with unusual volume, a sign of abuse.

End users are unbounded in number, so they are never labels of a metric. The metric says how many
keys and end users have an unusual volume; the log names each once an hour, and the report
(``usage report --by key,user``) at any time.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import Any

from app.usage.store.store import HOUR_MS, Store, VolumeLimits

_log = logging.getLogger("app.usage")


class VolumeAlert:
    """A chore that looks for unusual volume in the last hour, and logs each key and user once."""

    def __init__(self, store: Store, limits: VolumeLimits) -> None:
        self._store = store
        self._limits = limits
        self._logged_at: dict[tuple[str, str], float] = {}  # by key and user, monotonic
        #: Numbers of keys (``key``) and end users (``user``), of the whole database.
        self.counts = {"key": 0, "user": 0}
        #: The keys (``user`` empty) and end users themselves, as `Store.unusual` returns them.
        self.groups: list[dict[str, Any]] = []

    def __call__(self) -> None:
        groups = self._store.unusual(int(time.time() * 1000) - HOUR_MS, self._limits)
        counts = Counter("user" if group["user"] else "key" for group in groups)
        self.counts = {"key": counts["key"], "user": counts["user"]}
        self.groups = groups
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
