"""The order in which attempts get the slots of a provider.

Attempts that wait are in a tree of flows (`app.dispatch.queue.fair_queueing`) with three levels:

1. Tiers. The best tier that waits is next; but each other tier that waits gets at least
   a minimum share of the tokens (`TierCredits`), so that it never starves.
2. The keys of a tier, which share it in proportion to their ``share``.
3. The end users of a key, which share it evenly; without ``fair_users`` the sizes of its requests,
   so that a key's own bulk requests do not delay its small ones (`job.context.with_size`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from heapq import heappop, heapreplace
from typing import TYPE_CHECKING

from app.dispatch.queue.fair_queueing import (
    QueuedFlow,
    TierCredits,
    has_more_waiting,
    newest_of_largest,
)
from app.dispatch.quotas.quota import MAX_COUNT_FACTOR
from app.domain import TIERS, Flow, Tier

if TYPE_CHECKING:
    from app.dispatch.deployments.deployment import Deployment
    from app.dispatch.queue.attempts import Attempt
    from app.dispatch.queue.leaving import Merging

_NEWEST_WEIGHT = 0.1  # of the newest count of tokens in the moving average


class WaitingAttempts:
    """The queue of a provider.

    `app.dispatch.queue.attempts.Attempts` owns it, under the lock of its `SlotQueue`.
    """

    def __init__(self) -> None:
        self._tiers = {tier: QueuedFlow() for tier in TIERS}
        self._counted_per_expected = 1.0  # tokens: a moving average
        self._credits = TierCredits()

    # Changes

    def add(self, attempt: Attempt) -> None:
        """Put an attempt at the end of its group."""
        user = self._begin(attempt)
        user.groups.setdefault(attempt.group_key, {})[attempt] = None

    def add_first(self, attempts: Iterable[Attempt]) -> None:
        """Put attempts back that have left: they are the next ones of their flows, in their order.

        Their groups become the first ones of their flows; what was charged for them is given back.
        """
        for attempt in reversed(list(attempts)):
            user, key = self._begin(attempt), attempt.group_key
            group = {attempt: None, **user.groups.pop(key, {})}
            user.groups = {key: group, **user.groups}
            self._correct(attempt, 0.0)

    def remove(self, attempt: Attempt) -> bool:
        """Take an attempt out; return False if it is not here."""
        path = self._path(attempt)
        if path is None:
            return False
        groups, key = path[-1].groups, attempt.group_key
        group = groups.get(key)
        if group is None or attempt not in group:
            return False
        del group[attempt]
        if not group:
            del groups[key]
        self._count_left(path, attempt.flow.tier)
        return True

    def _count_left(self, path: tuple[QueuedFlow, ...], tier: Tier) -> None:
        """Count an attempt that has left its flows; remove the members of empty ones."""
        for flow in path:
            flow.waiting -= 1
            if not flow.waiting:
                flow.members.clear()
        if not path[0].waiting:
            self._credits.forget(tier)

    def settle(self, attempt: Attempt, tokens: int) -> None:
        """Charge an attempt that has left for the tokens that its provider has counted.

        An attempt that leaves is charged for its expected tokens, corrected by the counts before:
        if that were too much, the flows with most calls in flight would get too little. A count of
        0 is ignored: with a provider that always counts 0, no flow would ever use up its turn.
        """
        if tokens <= 0:
            return
        expected = max(1, attempt.tokens)
        ratio = min(max(tokens / expected, 1 / MAX_COUNT_FACTOR), MAX_COUNT_FACTOR)
        self._counted_per_expected += _NEWEST_WEIGHT * (ratio - self._counted_per_expected)
        self._correct(attempt, ratio * expected)

    def _correct(self, attempt: Attempt, tokens: float) -> None:
        """Charge an attempt that has left for so many tokens instead of those charged before."""
        path = self._path(attempt)
        if path is not None and attempt.charged:
            for member in path[1:]:
                member.start_tag += (tokens - attempt.charged) / member.share
        attempt.charged = tokens

    def waiting_of(self, tier: Tier) -> int:
        """Return the number of attempts of a tier."""
        return self._tiers[tier].waiting

    # Which is next

    def next(
        self, may_leave: Callable[[Attempt], bool], is_last_slot_kept: bool = False
    ) -> Attempt | None:
        """Return the attempt that is next, of those that may leave now.

        ``is_last_slot_kept``: tier flex gets the last free slot for its minimum share only.
        """
        best = None
        for name, tier in self._tiers.items():
            needs_credit = best is not None or (is_last_slot_kept and name == "flex")
            if not tier.waiting or (needs_credit and not self._credits.is_positive(name)):
                continue
            attempt = tier.first(may_leave)
            if attempt is None:
                continue
            self._credits.limit(attempt)
            if best is not None and self.has_credit(attempt):
                return attempt
            if not needs_credit or self.has_credit(attempt):
                best = best or attempt
        return best

    def has_credit(self, attempt: Attempt) -> bool:
        """Whether its tier may send an attempt before better ones, for its minimum share."""
        return self._credits.suffice(attempt)

    def take(self, first: Attempt, call: Merging | None) -> list[Attempt]:
        """Take out an attempt and those that join its call, if any may, in order of their turn."""
        taken = [first]
        self._take(first)
        if call is not None and first.group is not None:
            for tier in self._tiers.values():
                if tier.waiting:
                    taken += self._take_joining(tier, first.group_key, call)
        waiting = [name for name, tier in self._tiers.items() if tier.waiting]
        self._credits.share_call(taken, waiting)
        return taken

    def _take_joining(self, tier: QueuedFlow, group: Hashable, call: Merging) -> Iterator[Attempt]:
        """Take out the attempts of a tier that join a call.

        Those of an end user are taken in order: when one may not join, the later ones wait, too.
        """
        keys = _heap(tier.in_turn())
        users_of: dict[QueuedFlow, list[tuple[float, int, QueuedFlow]]] = {}
        while keys and not call.is_full:
            _, key_position, key = keys[0]
            users = users_of.get(key)
            if users is None:
                users = users_of[key] = _heap(u for u in key.in_turn() if group in u.groups)
            if not users:
                heappop(keys)
                continue
            _, user_position, user = users[0]
            attempt = next(iter(user.groups[group]))
            if not call.try_add(attempt):
                heappop(users)
                continue
            self._take(attempt)
            heapreplace(keys, (key.start_tag, key_position, key))
            if group in user.groups:
                heapreplace(users, (user.start_tag, user_position, user))
            else:
                heappop(users)
            yield attempt

    def _take(self, attempt: Attempt) -> None:
        """Take an attempt out, and charge its flows; its group then comes after the others."""
        path, name = self._path(attempt), attempt.group_key
        assert path is not None
        tier, key, user = path
        group = user.groups.pop(name)
        del group[attempt]
        if group:
            user.groups[name] = group
        tokens = attempt.charged = max(1, attempt.tokens) * self._counted_per_expected
        tier.charge(key, tokens)
        key.charge(user, tokens)
        self._count_left(path, attempt.flow.tier)

    # What waits

    def of_deployment(self, deployment: Deployment) -> list[Attempt]:
        """Return all attempts that wait for a deployment."""
        return [
            attempt
            for tier in self._tiers.values()
            for attempt in tier.attempts()
            if attempt.deployment is deployment
        ]

    def has_more_waiting(self, flow: Flow) -> bool:
        """Whether another flow is the first to lose an attempt: see `fair_queueing`."""
        return has_more_waiting(self._tiers, flow)

    def newest_of_largest(self) -> Attempt | None:
        """Return the attempt of the newest request of the flow with most waiting."""
        return newest_of_largest(self._tiers)

    def _path(self, attempt: Attempt) -> tuple[QueuedFlow, QueuedFlow, QueuedFlow] | None:
        """Return the flows of an attempt: tier, key and user; None where they are removed."""
        flow = attempt.flow
        tier = self._tiers[flow.tier]
        key = tier.members.get(flow.key)
        user = None if key is None else key.members.get(flow.user)
        return None if key is None or user is None else (tier, key, user)

    def _begin(self, attempt: Attempt) -> QueuedFlow:
        """Count an attempt that begins to wait; return its user's flow."""
        flow = attempt.flow
        key = self._tiers[flow.tier].begin(flow.key, flow.share)
        user = key.begin(flow.user)
        user.waiting += 1
        return user


def _heap(in_turn: Iterable[QueuedFlow]) -> list[tuple[float, int, QueuedFlow]]:
    """Return a heap of flows by their start tags; they are in that order already."""
    return [(flow.start_tag, position, flow) for position, flow in enumerate(in_turn)]
