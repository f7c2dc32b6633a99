"""Results of other hosts, where there is a server for them; without an answer, none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from app.drift.results import CheckResult, CheckResults

if TYPE_CHECKING:
    from app.drift.valkey import SharedResults

_log = logging.getLogger("app.drift")
T = TypeVar("T")


class Episodes:
    """Logs the first failure of several in a row, and then that all is well again."""

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

    While the server does not answer, each host checks for itself.
    """

    def __init__(self, shared: SharedResults | None, episodes: Episodes) -> None:
        self._shared = shared
        self._episodes = episodes

    def read(self) -> CheckResults:
        """Return the results of all hosts; none while the server does not answer."""
        return self._ask(lambda shared: shared.read()) or {}

    def publish(self, results: Mapping[str, CheckResult]) -> None:
        """Let other hosts have these results."""
        self._ask(lambda shared: shared.publish(results))

    def acquire_lease(self) -> bool:
        """Return whether this host may check now; True while the server does not answer."""
        return self._ask(lambda shared: shared.acquire()) is not False

    def extend_lease(self) -> None:
        self._ask(lambda shared: shared.extend())

    def release_lease(self) -> None:
        self._ask(lambda shared: shared.release())

    def close(self) -> None:
        """Close the connections to the server."""
        if self._shared is not None:
            self._shared.close()

    def _ask(self, function: Callable[[SharedResults], T]) -> T | None:
        if self._shared is None:
            return None
        from app.drift.valkey import SharedUnavailable  # needs the package redis

        what = "the server that shares checks of vector spaces with other hosts"
        try:
            answer = function(self._shared)
        except SharedUnavailable as error:
            self._episodes.failed(what, error)
            return None
        self._episodes.succeeded(what)
        return answer
