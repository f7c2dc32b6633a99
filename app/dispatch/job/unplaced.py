"""The parts of a request that no deployment takes now, of one pass over those that wait. No I/O.

A request may have thousands of parts. To look for a deployment for each of them takes the worker as
long as it needs for hundreds of requests; and while a queue is full, or a probe is under way, that
would be done a hundred times a second.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from app.dispatch.job.part import Part

#: Parts that wait with another one, after which all further ones do so without a comparison.
_MAX_COMPARED = 64


class UnplacedParts:
    """Lets parts wait with another one that no deployment takes, if they need no less.

    ``waiting_for_room`` are the parts that are due again when a full queue has room. It is made by
    a `app.dispatch.job.starter.Starter`, when no deployment takes a part.
    """

    def __init__(self, waiting_for_room: set[Part]) -> None:
        self._waiting_for_room = waiting_for_room
        self._unplaced: dict[Hashable, Part] = {}  # the last one, by `_choice_of` it
        self._compared = 0
        self.include_all = False  # no part is due any more

    def add(self, part: Part) -> None:
        """Add a part that no deployment takes before it is due again."""
        self._unplaced[_choice_of(part)] = part

    def include(self, part: Part, others: Sequence[Part], now: float) -> bool:
        """Let a part wait with one that was added, if it needs no less; return whether it waits.

        ``others`` are all further parts. After `_MAX_COMPARED` parts, those of them that are due
        wait, too. One may need less; but it is looked at soon, as these are, and the request has
        its vectors only after those that need more.
        """
        other = self._unplaced.get(_choice_of(part))
        if other is None:
            return False
        needs, least = part.expected, other.expected
        if needs.total < least.total or needs.largest < least.largest:
            return False
        self._compared += 1
        self.include_all = self._compared >= _MAX_COMPARED
        further = [o for o in others if o.due <= now] if self.include_all else ()
        for waiting in (part, *further):
            waiting.due = other.due
        if other in self._waiting_for_room:
            self._waiting_for_room.update((part, *further))
        return True


def _choice_of(part: Part) -> Hashable:
    """Return what the choice of a deployment for a part depends on, beside its tokens."""
    if not part.last_errors:
        return part.flow
    return part.flow, *part.last_errors, None, *part.permanently_failing
