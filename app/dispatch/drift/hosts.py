"""Results of other hosts, where there is a server for them; without an answer, none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from app.dispatch.drift.results import CheckResult, CheckResults

if TYPE_CHECKING:
    from app.dispatch.drift.valkey import SharedResults

_log = logging.getLogger("app.drift")
T = TypeVar("T")

#: Seconds after which a lease is extended: well before `app.dispatch.drift.valkey.LEASE_S`.
EXTEND_AFTER_S = 60.0


class Episodes:
    """Logs the first failure of several in a row, and the first success after them."""

    def __init__(self) -> None:
        self._failing: set[str] = set()

    def failed(self, what: str, reason: object) -> None:
        """Log that ``what`` fails, unless the last attempt failed as well."""
        if what not in self._failing:
            self._failing.add(what)
            _log.warning("%s: %s", what, reason)

    def succeeded(self, what: str) -> None:
        """Log that ``what`` works again, if the last attempt failed."""
        if what in self._failing:
            self._failing.discard(what)
            _log.warning("%s: works again", what)


class OtherHosts:
    """The server's results and lease; ``shared`` None: there is no server.

    While the server does not answer, each host checks for itself. ``clock`` is in seconds.
    """

    def __init__(
        self, shared: SharedResults | None, episodes: Episodes, clock: Callable[[], float]
    ) -> None:
        self._shared = shared
        self._episodes = episodes
        self._clock = clock
        self._held_since: float | None = None  # the lease, or when it was extended

    def read(self) -> CheckResults:
        """Return the results of all hosts; none while the server does not answer."""
        return self._ask(lambda shared: shared.read()) or {}

    def publish(self, results: Mapping[str, CheckResult]) -> None:
        """Let other hosts have these results."""
        self._ask(lambda shared: shared.publish(results))

    def acquire_lease(self) -> bool:
        """Return whether this host may check now; True while the server does not answer."""
        if self._held_since is None:
            has_acquired = self._ask(lambda shared: shared.acquire())  # None: no answer
            if has_acquired or has_acquired is None:
                self._held_since = self._clock()
        return self._held_since is not None

    def extend_lease(self) -> None:
        """Extend the lease that this host holds, if `EXTEND_AFTER_S` have passed."""
        now = self._clock()
        if self._held_since is None or 0 <= now - self._held_since < EXTEND_AFTER_S:
            return
        self._ask(lambda shared: shared.extend())
        self._held_since = now

    def release_lease(self) -> None:
        """Let another host check, if this one holds the lease."""
        if self._held_since is not None:
            self._held_since = None
            self._ask(lambda shared: shared.release())

    def close(self) -> None:
        """Close the connections to the server."""
        if self._shared is not None:
            self._shared.close()

    def _ask(self, function: Callable[[SharedResults], T]) -> T | None:
        if self._shared is None:
            return None
        from app.dispatch.drift.valkey import SharedUnavailable  # needs the package redis

        what = "the server that shares checks of vector spaces with other hosts"
        try:
            answer = function(self._shared)
        except SharedUnavailable as error:
            self._episodes.failed(what, error)
            return None
        self._episodes.succeeded(what)
        return answer
