"""The order in which attempts leave the queue of a provider.

Attempts that may share a call are a group. `WaitingGroups.next_group` decides whose turn it is, and
`fill` how many attempts of the group leave together.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING

from app.dispatch.attempt import Attempt

if TYPE_CHECKING:
    from app.dispatch.deployment import Deployment


def group_key(attempt: Attempt) -> Hashable:
    """Return a key that is equal for attempts that may share a call."""
    return attempt if attempt.group is None else (attempt.deployment, attempt.group)


class WaitingGroups:
    """The queue of a provider: groups in the order of their turn, each with its attempts in order.

    `app.dispatch.attempts.Attempts` owns it, under the lock of its `SlotQueue`.
    """

    def __init__(self) -> None:
        self._groups: dict[Hashable, dict[Attempt, None]] = {}

    def add(self, attempt: Attempt) -> None:
        """Put an attempt at the end of its group."""
        self._groups.setdefault(group_key(attempt), {})[attempt] = None

    def add_first(self, attempts: Iterable[Attempt]) -> None:
        """Put attempts, in their order, at the head of their groups, and those at the head."""
        for attempt in reversed(list(attempts)):
            key = group_key(attempt)
            group = {attempt: None, **self._groups.pop(key, {})}
            self._groups = {key: group, **self._groups}

    def remove(self, attempt: Attempt) -> None:
        """Take an attempt out, if it is here."""
        key = group_key(attempt)
        group = self._groups.get(key)
        if group is not None and attempt in group:
            del group[attempt]
            if not group:
                del self._groups[key]

    def take(self, key: Hashable, attempts: Iterable[Attempt]) -> None:
        """Take attempts out of their group. Groups take turns: the rest of it goes to the end."""
        group = self._groups.pop(key)
        for attempt in attempts:
            del group[attempt]
        if group:
            self._groups[key] = group

    def next_group(
        self, may_leave: Callable[[Attempt], bool]
    ) -> tuple[Hashable, Deployment, Iterable[Attempt]] | None:
        """Return the group whose turn it is: its key, its deployment and its attempts.

        It is the first one whose head ``may_leave``; None where there is none. A group keeps
        its place while it holds attempts, so the head of that group has waited longest, except for
        attempts that were taken along before.
        """
        for key, group in self._groups.items():
            head = next(iter(group))
            if may_leave(head):
                return key, head.deployment, group
        return None

    def of_deployment(self, deployment: Deployment) -> list[Attempt]:
        """Return all queued attempts of a deployment."""
        return [
            attempt
            for group in self._groups.values()
            for attempt in group
            if attempt.deployment is deployment
        ]


def fill(group: Iterable[Attempt], deployment: Deployment, now: float) -> list[Attempt]:
    """Return as many attempts from the front as fit into one call, at least one.

    An attempt whose items were refused while it waited gets a call of its own.
    """
    attempts: list[Attempt] = []
    inputs = tokens = 0
    room = deployment.quota.room(now)
    for attempt in group:
        more = inputs + attempt.size, tokens + attempt.tokens
        is_suspect = deployment.has_refused(attempt.call.items, now)
        if attempts and (is_suspect or more[1] > room or not deployment.fits(*more)):
            break
        inputs, tokens = more
        attempts.append(attempt)
        if is_suspect:
            break
    return attempts
