"""Whether a 400 of a deployment is the caller's fault, by what it has embedded and refused."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass

from app.config.sections.dispatch import DispatchSettings

_MAX_KINDS_REMEMBERED = 100  # kinds of requests that the deployment has served
_MAX_IN_FLIGHT = 1000  # calls, that make a difference to how many 400s are trusted
_LONG_AGO = float("-inf")


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Another deployment agreed with a 400 to a request of one kind."""

    at: float  # of the monotonic clock, in seconds
    refused_before: int  # calls that the deployment had answered with 400 by then


class Refusals:
    """The 400s of one deployment, and the kinds of requests that it has embedded.

    A 400 to a request of a kind is in one of three cases:

    1. `are_trusted`: the deployment embedded the kind lately, so that the caller gets its 400.
    2. `are_doubted`: it never did, or refuses everything, so that its 400 may be its own fault.
    3. Neither: it embedded the kind, but not lately, or another deployment has confirmed such a
       400. Another is called first; where none may be, the caller gets the 400.

    `app.dispatch.health.standing.Standing` owns it, and holds its own lock during every call.
    """

    def __init__(self, settings: DispatchSettings) -> None:
        self._settings = settings
        self._served: dict[Hashable, float] = {}  # kind of request → when one was last embedded
        #: When calls ended with 400: those after the latest start of a call with vectors.
        self._in_a_row = deque[float](maxlen=settings.trusted_400s + _MAX_IN_FLIGHT)
        self._refused_ever = 0  # calls that ended with 400, in all
        self._confirmed: dict[Hashable, Confirmation] = {}  # the last one of each embedded kind
        #: Until then the deployment has refused so much that new requests are to prefer others.
        self.doubted_until = _LONG_AGO

    def are_trusted(self, kind: Hashable, now: float, in_flight: int = 0) -> bool:
        """Whether a 400 to a request of that kind is taken as the caller's fault.

        It is, if the deployment has embedded such a request lately, and has not refused too many
        calls in a row since: more than `trusted_400s`, and more than it has ``in_flight``.
        """
        if self._refuses_many(in_flight):
            return False
        return now - self._served.get(kind, _LONG_AGO) <= self._settings.trust_400_for

    def are_doubted(self, kind: Hashable, now: float, in_flight: int = 0) -> bool:
        """Whether a 400 to a request of that kind may be the provider's fault.

        It may be, if the deployment has embedded no such request; or if it has refused too many
        calls in a row, and no other deployment has confirmed a 400 to that kind lately.
        """
        if kind not in self._served:
            return True
        return self.seem_wrong(kind, now, in_flight)

    def seem_wrong(self, kind: Hashable, now: float, in_flight: int = 0) -> bool:
        """Whether it has refused too many calls in a row, and none was confirmed lately."""
        return self._refuses_many(in_flight) and not self._is_confirmed(kind, now)

    def _refuses_many(self, in_flight: int) -> bool:
        """Whether more calls in a row have ended with 400 than are trusted.

        Or than are in flight: so many bad texts may be sent while one good call takes its time.
        """
        return len(self._in_a_row) > max(self._settings.trusted_400s, in_flight)

    def _is_confirmed(self, kind: Hashable, now: float) -> bool:
        """Whether the last confirmation of a 400 to that kind is recent enough for further ones.

        It counts for some seconds and some calls only: a text that every provider refuses proves
        nothing about a deployment that refuses everything from then on.
        """
        last, settings = self._confirmed.get(kind), self._settings
        if last is None or now - last.at > settings.trust_400_for:
            return False
        return self._refused_ever - last.refused_before <= settings.trusted_400s

    def record_success(self, kind: Hashable, call_started_at: float, now: float) -> None:
        """Record that the deployment embedded a request of that kind.

        It refuted 400s before the start of the call only: since then it may refuse everything.
        """
        self.doubted_until = _LONG_AGO
        while self._in_a_row and self._in_a_row[0] <= call_started_at:
            self._in_a_row.popleft()
        served = self._served
        # A kind moves to the end of the dictionary, so that the first one is the oldest.
        is_new = served.pop(kind, None) is None
        served[kind] = now
        if is_new and len(served) > _MAX_KINDS_REMEMBERED:
            oldest = next(iter(served))
            del served[oldest]
            self._confirmed.pop(oldest, None)

    def record_refusal(self, is_test: bool, now: float) -> None:
        """Record a call that ended with 400.

        ``is_test``: a call of a bisection. It is not counted as a further refusal, since it repeats
        items that were refused before.
        """
        if not is_test:
            self._in_a_row.append(now)
            self._refused_ever += 1

    def record_untrusted(self, kind: Hashable, now: float, in_flight: int) -> None:
        """Record a 400 that is not taken as the caller's fault: others may be preferred then.

        The deployment answers them at once, and so would get most of the new requests.
        """
        if self.seem_wrong(kind, now, in_flight):
            self.doubted_until = now + self._settings.suspicion

    def record_confirmation(self, kind: Hashable, now: float) -> None:
        """Record that another deployment refused the same items, of that kind."""
        self.doubted_until = _LONG_AGO
        if kind in self._served:
            self._confirmed[kind] = Confirmation(now, self._refused_ever)

    def record_refuted(self) -> None:
        """Record that another deployment embedded the same items."""
        self._confirmed.clear()
