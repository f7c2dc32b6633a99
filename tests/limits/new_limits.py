"""Limits of known units that keys cannot have yet, to test what a new limit would do."""

from dataclasses import dataclass

from app.config.sections.keys import KEY_LIMITS
from app.domain import Caller
from app.limits import rules

NAMES = ("requests_per_month", "user_tokens_per_day")


@dataclass(frozen=True, slots=True)
class NewCaller(Caller):
    """A caller with these limits."""

    requests_per_month: int | None = None
    user_tokens_per_day: int | None = None


def declare(monkeypatch):
    """Declare the new limits, after the known ones."""
    known = [name for name in KEY_LIMITS if name != "warn_at"]
    names = tuple(rules.parse_limit(name) for name in (*known, *NAMES))
    monkeypatch.setattr(rules, "LIMIT_NAMES", names)
