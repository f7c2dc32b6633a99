"""A flow of attempts in a queue, and the start-time fair queueing among its member flows.

(Goyal, Vin, Cheng: "Start-time Fair Queueing", SIGCOMM 1996.) Each flow has a start tag, and the
flow with the lowest tag is next; its tag then grows by the tokens that leave, divided by its share.
The virtual time is the tag of the flow that left last. A flow that begins to wait gets the virtual
time as its tag, unless its own is later: so it can neither save turns nor use one twice. A flow
that waits for a quota saves no turns, either (`QueuedFlow.first`). All tags are removed when no
attempt waits any more.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator

from app.dispatch.queue.attempt import Attempt
from app.domain import Flow

#: Number of members at which those without waiting attempts are removed; the next time, at twice
#: the number that is left.
_MAX_IDLE_MEMBERS = 64

#: Names of the sizes up to 1, 8, 64, 512 … items, by the bits of the number of items less 1. No end
#: user has such a name.
_SIZES = [f"\0{8 ** -(-bits // 3)}" for bits in range(64)]


class QueuedFlow:
    """A node of a tree of flows: one with ``members``, or a leaf, with ``groups`` of attempts.

    The attempts of a group may share a call; groups are in the order of their turn.
    """

    __slots__ = (
        "_forget_at",
        "groups",
        "members",
        "share",
        "start_tag",
        "virtual_time",
        "waiting",
    )

    def __init__(self) -> None:
        self.share = 1.0
        self.start_tag = 0.0
        self.waiting = 0  # attempts, those of the members included
        self.virtual_time = 0.0  # of the members
        self.members: dict[str, QueuedFlow] = {}
        self._forget_at = _MAX_IDLE_MEMBERS
        self.groups: dict[Hashable, dict[Attempt, None]] = {}

    def begin(self, name: str, share: float = 1.0) -> QueuedFlow:
        """Return the member of that name, which may be new, for one more attempt to wait in."""
        member = self.members.get(name)
        if member is None:
            if len(self.members) >= self._forget_at:
                self._forget_idle()
            member = self.members[name] = QueuedFlow()
        if not member.waiting:
            member.start_tag = max(member.start_tag, self.virtual_time)
        member.share = share
        self.waiting += 1
        return member

    def _forget_idle(self) -> None:
        """Remove the members that do not wait and have used no turn in advance."""
        for name, member in list(self.members.items()):
            if not member.waiting and member.start_tag <= self.virtual_time:
                del self.members[name]
        self._forget_at = max(_MAX_IDLE_MEMBERS, 2 * len(self.members))

    def charge(self, member: QueuedFlow, tokens: float) -> None:
        """Charge a member for tokens that leave."""
        self.virtual_time = max(self.virtual_time, member.start_tag)
        member.start_tag += tokens / member.share

    def in_turn(self) -> list[QueuedFlow]:
        """Return the members that wait, in the order of their turn."""
        waiting = [member for member in self.members.values() if member.waiting]
        if len(waiting) > 1:
            waiting.sort(key=_start_tag)
        return waiting

    def first(self, may_leave: Callable[[Attempt], bool]) -> Attempt | None:
        """Return the attempt that is next, of those at the head of their groups that may leave.

        A flow that is passed over, because none of its attempts may leave, loses its turn: else it
        would save turns for all that time, and no other flow would leave until they are used.
        """
        for group in self.groups.values():
            attempt = next(iter(group))
            if may_leave(attempt):
                return attempt
        passed = list[QueuedFlow]()
        for member in self.in_turn():
            found = member.first(may_leave)
            if found is not None:
                for earlier in passed:
                    earlier.start_tag = member.start_tag
                return found
            passed.append(member)
        return None

    def attempts(self) -> Iterator[Attempt]:
        """Yield all attempts of the flow."""
        for member in self.members.values():
            yield from member.attempts()
        for group in self.groups.values():
            yield from group


def _start_tag(flow: QueuedFlow) -> float:
    return flow.start_tag


def with_size(flow: Flow, items: int) -> Flow:
    """Return the flow of a request of so many items, for its attempts to wait in.

    Where the key does not divide its share among end users, it divides it among sizes of requests,
    so that its small requests do not wait until all its large ones have left.
    """
    if flow.user:
        return flow
    return Flow(flow.key, flow.share, flow.tier, _SIZES[(items - 1).bit_length()])
