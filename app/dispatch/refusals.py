"""Whether a 400 of a deployment is the caller's fault, by what it has embedded and refused."""

from __future__ import annotations

from collections.abc import Hashable

from app.config.dispatch import DispatchSettings

_MAX_KINDS_REMEMBERED = 100  # kinds of requests that the deployment has served
_NEVER = float("-inf")


class Refusals:
    """The 400s of one deployment, and the kinds of requests that it has embedded.

    `app.dispatch.standing.Standing` owns it, and holds its own lock during every call.
    """

    def __init__(self, settings: DispatchSettings) -> None:
        self._settings = settings
        self._served: dict[Hashable, float] = {}  # kind of request → when one was last embedded
        self._in_a_row = 0  # calls that ended with 400
        self._since = _NEVER  # when the first of these ended
        self._was_confirmed = False  # another deployment agreed with its last checked 400

    def are_trusted(self, kind: Hashable, now: float) -> bool:
        """Whether a 400 to a request of that kind is taken as the caller's fault.

        It is, if the deployment has embedded such a request lately, and has not answered more than
        `trusted_400s` calls in a row with 400 since.
        """
        if self._in_a_row > self._settings.trusted_400s:
            return False
        return now - self._served.get(kind, _NEVER) <= self._settings.trust_400_for

    def are_doubted(self, kind: Hashable) -> bool:
        """Whether a 400 to a request of that kind may be the provider's fault.

        It may be, if the deployment has embedded no such request, or refused too many calls in a
        row, and no other deployment has confirmed its last 400.
        """
        is_odd = kind not in self._served or self._in_a_row > self._settings.trusted_400s
        return is_odd and not self._was_confirmed

    def served(self, kind: Hashable, call_started_at: float, now: float) -> None:
        """Record that the deployment embedded a request of that kind."""
        if call_started_at >= self._since:
            self._in_a_row = 0
        served = self._served
        # A kind moves to the end of the dictionary, so that the first one is the oldest.
        is_new = served.pop(kind, None) is None
        served[kind] = now
        if is_new and len(served) > _MAX_KINDS_REMEMBERED:
            del served[next(iter(served))]

    def refused(self, is_test: bool, now: float) -> None:
        """Record a call that ended with 400.

        ``is_test``: a call of a bisection. It is not counted as a further refusal, since it repeats
        items that were refused before.
        """
        if not self._in_a_row:
            self._since = now
        if not is_test:
            self._in_a_row += 1

    def confirmed(self) -> None:
        """Record that another deployment refused the same items."""
        self._was_confirmed = True

    def refuted(self) -> None:
        """Record that another deployment embedded the same items."""
        self._was_confirmed = False
