"""Fair queueing: which flow is next, the minimum share of a tier, and what a full queue drops.

Start-time fair queueing among the members of a flow (Goyal, Vin, Cheng, SIGCOMM 1996): each flow
has a start tag, and the flow with the lowest tag is next; its tag then grows by the tokens that
leave, divided by its share. The virtual time is the tag of the flow that left last. A flow that
begins to wait gets the virtual time as its tag, unless its own is later: so it can neither save
turns nor use one twice. A flow that waits for a quota saves no turns, either (`QueuedFlow.first`).
All tags are removed when no attempt waits any more.

A full queue drops an attempt of the key with most attempts waiting for each of its shares; of two
equal keys, of that in the worse service tier. Within the key it is the end user with most waiting,
and of that one the newest request.

No I/O, no lock: `app.dispatch.queue.waiting.WaitingAttempts` owns all flows and credits.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from app.domain import TIERS, Flow, Tier

if TYPE_CHECKING:
    from app.dispatch.queue.attempts import Attempt

#: Number of members at which those without waiting attempts are removed; the next time, at twice
#: the number that is left.
_MAX_IDLE_MEMBERS = 64
#: Share of the tokens that a tier gets while better ones wait.
MIN_TIER_SHARE = 0.05


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

    def add_waiting(self, name: str, share: float = 1.0) -> QueuedFlow:
        """Count one more attempt that waits in the member of that name; return the member.

        The caller counts it in the member itself.
        """
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


class TierCredits:
    """The credit of each tier: how many tokens it may send before better tiers."""

    def __init__(self) -> None:
        self._credits = dict.fromkeys(TIERS, 0.0)
        self._last_call_tokens = 0.0

    def is_positive(self, tier: Tier) -> bool:
        """Whether a tier has credit."""
        return self._credits[tier] > 0

    def cover(self, attempt: Attempt) -> bool:
        """Whether the credit of its tier is enough to send an attempt before better tiers."""
        return self._credits[attempt.flow.tier] >= attempt.tokens

    def limit(self, attempt: Attempt) -> None:
        """Bound the credit of a tier to what its next attempt and one more call need.

        It grows while the tier's attempts may not leave. Without the bound, the tier would then
        send many calls before better ones.
        """
        tier = attempt.flow.tier
        most = attempt.tokens + self._last_call_tokens
        self._credits[tier] = min(self._credits[tier], most)

    def forget(self, tier: Tier) -> None:
        """Set the credit of a tier without waiting attempts to 0."""
        self._credits[tier] = 0.0

    def share_call(self, call: Iterable[Attempt], waiting: Iterable[Tier]) -> None:
        """Credit the ``waiting`` tiers with their share of a call; charge the tiers in the call.

        For each tier, from the best to the worst:

        1. If it waits, it is credited with its share of what better tiers have in the call.
        2. If it is in the call, it is charged for its tokens. While no better tier waits, that uses
           up credit, and makes no debt. While one waits, the debt is at most these tokens: the tier
           may have sent much while better ones might not leave, and a debt of all that would keep
           it from its minimum share for as long.
        """
        sent = dict.fromkeys(TIERS, 0.0)
        for attempt in call:
            sent[attempt.flow.tier] += attempt.charged
        sent_by_better, is_better_waiting = 0.0, False
        for tier, tokens in sent.items():
            waits = tier in waiting
            if waits:
                self._credits[tier] += sent_by_better * MIN_TIER_SHARE / (1 - MIN_TIER_SHARE)
            if tokens:
                least = -tokens if is_better_waiting else min(0.0, self._credits[tier])
                self._credits[tier] = max(self._credits[tier] - tokens, least)
            sent_by_better += tokens
            is_better_waiting |= waits
        self._last_call_tokens = sent_by_better


def has_more_waiting(tiers: Mapping[Tier, QueuedFlow], flow: Flow) -> bool:
    """Whether another flow would lose an attempt of a full queue if this one had one more."""
    key = tiers[flow.tier].members.get(flow.key) or QueuedFlow()
    user = key.members.get(flow.user) or QueuedFlow()
    found = _largest_key(tiers)
    if found is None:
        return False
    largest, tier = found
    if largest is key:
        return _largest_user(key).waiting > user.waiting + 1
    of_largest, own = largest.waiting / largest.share, (key.waiting + 1) / flow.share
    is_worse_tier = TIERS.index(tier) > TIERS.index(flow.tier)
    return of_largest > own or (of_largest == own and is_worse_tier)


def newest_of_largest(tiers: Mapping[Tier, QueuedFlow]) -> Attempt | None:
    """Return the attempt that a full queue drops; None where none waits."""
    found = _largest_key(tiers)
    if found is None:
        return None
    return max(_largest_user(found[0]).attempts(), key=lambda attempt: attempt.arrived_at)


def _largest_key(tiers: Mapping[Tier, QueuedFlow]) -> tuple[QueuedFlow, Tier] | None:
    keys = [
        (key, tier)
        for tier in reversed(TIERS)  # the first of equal ones is found
        for key in tiers[tier].members.values()
        if key.waiting
    ]
    return max(keys, key=lambda pair: pair[0].waiting / pair[0].share, default=None)


def _largest_user(key: QueuedFlow) -> QueuedFlow:
    return max(key.members.values(), key=lambda user: user.waiting)
