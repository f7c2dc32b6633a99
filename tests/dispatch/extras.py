"""What the search draws beside the rest of an arrangement, from random numbers of its own.

Keys with shares and end users, clients that leave, providers whose calls take longer with more
items, and concurrency that is found out. So a seed keeps the rest of its arrangement.
"""

import random
from dataclasses import replace
from typing import TYPE_CHECKING

from app.config.sections.providers import AutoConcurrency
from app.domain import Flow, Tier

if TYPE_CHECKING:
    from tests.dispatch.arrangement import Arrangement

TIERS: list[Tier] = ["priority", "default", "default", "flex"]
SHARES = {"x": 1.0, "y": 4.0, "z": 0.5}
#: Themes that measure times or calls which depend on the length of a call, or on the slots.
EVEN_CALLS = ("share", "slow", "silence", "burst")
FIXED_SLOTS = ("share", "burst", "poison")


class Extras:
    """Draws for one arrangement; ``made`` is changed."""

    def __init__(self, made: "Arrangement") -> None:
        self._dice = dice = random.Random(f"extras of {made.seed}")
        self._has_shares = dice.random() < 0.5
        self._has_users = dice.random() < 0.4
        self._leave_rate = dice.choice([0.0, 0.0, 0.1, 0.3])
        for provider in made.providers.values():
            if made.theme not in EVEN_CALLS and dice.random() < 0.3:
                provider.seconds_an_item = dice.choice([0.005, 0.03, 0.1])
            if made.theme not in FIXED_SLOTS and dice.random() < 0.25:
                provider.settings["concurrency"] = AutoConcurrency(1, dice.choice([4, 64]))
        self._more = more = random.Random(f"more extras of {made.seed}")
        self._every = more.choice([0.0, 0.0, 0.3, 3.0]) if made.theme != "share" else 0.0
        self._lifetimes = made.lifetimes
        self.is_gevent = more.random() < 0.5
        self._has_end_users = more.random() < 0.3
        for provider in made.providers.values():
            if self._has_end_users and more.random() < 0.5:
                provider.takes = replace(provider.takes, user=True)

    def moment(self, after: float, phase: str) -> float:
        """Return when a request is made: in some arrangements many arrive at the same moment."""
        if not self._every or phase not in ("trouble", "warm"):
            return after
        return after // self._every * self._every

    def worker(self, at: float) -> int:
        """Return the number of the worker that gets the next request, which is made ``at``."""
        return self._more.choice([n for n, life in enumerate(self._lifetimes) if life.serves(at)])

    def user(self) -> str | None:
        """Return the end user of the next request, whom providers may be told."""
        return self._more.choice(["u", "v"]) if self._has_end_users else None

    def flow(self) -> Flow:
        """Return the flow of the next request."""
        dice = self._dice
        key = dice.choice(sorted(SHARES))
        user = dice.choice(["", "u", "v"]) if self._has_users else ""
        return Flow(key, SHARES[key] if self._has_shares else 1.0, dice.choice(TIERS), user)

    def leaves_after(self, phase: str) -> float | None:
        """Return the seconds after which the client of the next request leaves; None: it stays."""
        if phase not in ("trouble", "warm") or self._dice.random() >= self._leave_rate:
            return None
        return self._dice.choice([0.01, 0.5, 3.0, 10.0]) * self._dice.uniform(0.5, 1.5)
