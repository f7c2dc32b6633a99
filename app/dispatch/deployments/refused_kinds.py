"""Kinds of requests that the deployments of a model refuse with 400, and embed none of."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from msgspec import Struct

from app.concurrency.locks import uncontended_lock
from app.config.sections.dispatch import DispatchSettings

_MAX_KINDS_REMEMBERED = 100  # that were embedded, and as many that were refused


class _Confirmed(Struct):
    """The confirmed 400s to one kind: two deployments have refused the same items."""

    requests: int = 0  # none later than `trust_400_for` after the one before
    last_at: float = float("-inf")  # of the monotonic clock, in seconds
    refused_since: int = 0  # further 400s, that no other deployment has confirmed


class RefusedKinds:
    """Which kinds of requests all deployments of one model seem to refuse.

    A 400 to such a kind is the caller's fault, also where the retry budget leaves no call to check
    it: a caller that sends nothing else uses the budget up, and would try again after each 502.
    The 400s of one deployment do not suffice, since it may answer 400 to everything: another one
    must have refused the same items of several requests, and none may have embedded the kind. The
    lock guards all fields.
    """

    def __init__(self, settings: DispatchSettings) -> None:
        self._settings = settings
        self._embedded: dict[Hashable, None] = {}  # the kind embedded last is the last one
        self._confirmed: dict[Hashable, _Confirmed] = {}
        self._lock = uncontended_lock()

    def are_refused(self, kind: Hashable, now: float) -> bool:
        """Whether a 400 to that kind is the caller's fault, although no other deployment is asked.

        It is, if no deployment is remembered to have embedded the kind; if two have refused the
        same items of at least `trusted_400s` requests; and if that was lately: within
        `trust_400_for` seconds, and followed by no more 400s than there were such requests.
        """
        settings = self._settings
        with self._lock:
            confirmed = self._confirmed.get(kind)
            return (
                confirmed is not None
                and confirmed.requests >= settings.trusted_400s
                and confirmed.refused_since <= confirmed.requests
                and now - confirmed.last_at <= settings.trust_400_for
            )

    def record_embedded(self, kind: Hashable) -> None:
        """Record that a deployment has embedded a request of that kind."""
        with self._lock:
            self._confirmed.pop(kind, None)
            self._embedded.pop(kind, None)
            self._embedded[kind] = None
            _keep_newest(self._embedded)

    def record_refusal(self, kind: Hashable, is_confirmed: bool, now: float) -> None:
        """Record a 400 to a request of that kind.

        ``is_confirmed``: another deployment has refused the same items before.
        """
        with self._lock:
            if not is_confirmed:
                if (known := self._confirmed.get(kind)) is not None:
                    known.refused_since += 1
                return
            if kind in self._embedded:
                return
            before = self._confirmed.pop(kind, _Confirmed())
            is_recent = now - before.last_at <= self._settings.trust_400_for
            self._confirmed[kind] = _Confirmed(before.requests + 1 if is_recent else 1, now)
            _keep_newest(self._confirmed)

    def record_refuted(self) -> None:
        """Record that a deployment has embedded what another one had refused."""
        with self._lock:
            self._confirmed.clear()


def _keep_newest(kinds: dict[Hashable, Any]) -> None:
    """Remove the oldest kind of too many."""
    if len(kinds) > _MAX_KINDS_REMEMBERED:
        del kinds[next(iter(kinds))]
