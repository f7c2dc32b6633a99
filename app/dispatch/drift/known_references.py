"""The references as a worker knows them: read again when they were recorded anew."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

from app.dispatch.drift.hosts import Episodes
from app.dispatch.drift.reference import Reference, References, ReferencesUnavailable

_log = logging.getLogger("app.drift")

#: Seconds between two checks whether references were recorded anew.
REFERENCE_POLL_S = 10.0


class KnownReferences:
    """The current references by space, in ``by_space``.

    ``spaces`` are those that are compared. ``every``: the most seconds between two checks for newer
    references.
    """

    def __init__(
        self,
        references: References,
        spaces: Iterable[str],
        every: float,
        episodes: Episodes,
        clock: Callable[[], float],
    ) -> None:
        self.by_space: dict[str, Reference] = {}
        self.has_read = False  # once
        self._references, self._spaces = references, sorted(set(spaces))
        self._poll_s = min(REFERENCE_POLL_S, every)
        self._episodes, self._clock = episodes, clock
        self._version: object = None  # when they were read
        self._polled_at = float("-inf")  # of the clock

    def poll(self) -> None:
        """Read the references if they have changed; keep those known while they are unavailable."""
        now = self._clock()
        if 0 <= now - self._polled_at < self._poll_s:
            return
        self._polled_at = now
        try:
            version = self._references.version()
            if version != self._version or not self.has_read:
                found = self._references.load()
                self.by_space = {space: r for space, r in found.items() if r.is_current}
                self._version, self.has_read = version, True
                self._warn_of_other_texts(found)
        except ReferencesUnavailable as error:
            self._episodes.failed("the reference vectors", error)
        else:
            self._episodes.succeeded("the reference vectors")

    def _warn_of_other_texts(self, found: Mapping[str, Reference]) -> None:
        for space in self._spaces:
            if space in found and not found[space].is_current:
                _log.warning(
                    "the reference of space %s is of other probe texts, so nothing is compared "
                    "with it: flask --app wsgi check --record",
                    space,
                )
