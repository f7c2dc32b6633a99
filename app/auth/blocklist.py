"""Keys and end users that are refused: those of the settings, and those of the database."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

#: What can be blocked: a key by its name, whatever its origin, or an end user (the field ``user``).
BlockedKind = Literal["key", "user"]
BLOCKED_KINDS: tuple[BlockedKind, ...] = get_args(BlockedKind)


@dataclass(frozen=True, slots=True)
class Block:
    """A key or an end user that the database blocks. Times in seconds since 1970."""

    kind: BlockedKind
    name: str
    until: int | None = None  # None: until it is unblocked
    reason: str = ""
    created: int = 0
    actor: str = ""  # as in the audit log

    def is_in_force(self, now: float) -> bool:
        # A time that is no number, by an operator's own SQL: it stays blocked.
        return not isinstance(self.until, int) or self.until > now


class Blocklist:
    """Says whether a key or an end user is blocked, from memory.

    Blocks of the settings are as old as the process; `replace` sets those of the database.
    """

    def __init__(
        self,
        keys: Collection[str] = (),
        users: Collection[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._of_settings = {
            "key": dict.fromkeys(keys, math.inf),
            "user": dict.fromkeys(map(_as_recorded, users), math.inf),
        }
        # Replaced as a whole, so they need no lock.
        self._until_by_key: Mapping[str, float] = self._of_settings["key"]
        self._until_by_user: Mapping[str, float] = self._of_settings["user"]

    def blocks_key(self, name: str) -> bool:
        """Return whether the key of this name is blocked now."""
        until = self._until_by_key.get(name)
        return until is not None and until > self._clock()

    def blocks_user(self, name: str) -> bool:
        """Return whether the end user of this name is blocked now."""
        until = self._until_by_user.get(_as_recorded(name))
        return until is not None and until > self._clock()

    def replace(self, blocks: Iterable[Block]) -> None:
        """Replace the blocks of the database."""
        found: dict[str, dict[str, float]] = {kind: {} for kind in BLOCKED_KINDS}
        for block in blocks:
            until = float(block.until) if isinstance(block.until, int) else math.inf
            found.get(block.kind, {})[block.name] = until
        self._until_by_key = found["key"] | self._of_settings["key"]
        self._until_by_user = found["user"] | self._of_settings["user"]

    def in_settings(self) -> list[tuple[BlockedKind, str]]:
        """Return what the settings block, in order."""
        return [(kind, name) for kind in BLOCKED_KINDS for name in sorted(self._of_settings[kind])]

    def is_in_settings(self, kind: BlockedKind, name: str) -> bool:
        """Return whether the settings block it, which only a change of them can end."""
        return name in self._of_settings[kind]


def _as_recorded(user: str) -> str:
    """Return an end user as the ledger has it, where operators read whom to block.

    NUL cannot be stored there. With it in its name, a user could otherwise not be blocked.
    """
    return user.replace("\0", "\ufffd") if "\0" in user else user
