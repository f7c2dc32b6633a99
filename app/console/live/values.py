"""Values of the page Now: as the server writes them, and static/now.js replaces them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup

from app.console import templating

#: Classes of the tag of a deployment's state.
STATE_CLASSES = {"ok": "good", "resting": "warn", "ejected": "bad", "drifted": "bad"}


def _cosine(value: float | None) -> str:
    return templating.NOTHING if value is None else f"{value:.5f}"


def _workers(by_state: Mapping[str, int]) -> str:
    """Return in how many workers a deployment has which state, where they differ."""
    if len(by_state) == 1:
        return ""
    return ", ".join(f"{state} in {number}" for state, number in by_state.items())


def _wait(seconds: float | None) -> str:
    return f"for {seconds:.0f} s" if seconds else ""


def _slow(share: float) -> str:
    """Return how much of its calls a deployment gets in its slow start."""
    return f"slow start, {templating.percent(share)}" if share < 1 else ""


def _from(source: str) -> str:
    return "of the ledger" if source == "ledger" else "since the server started"


def _error(text: str | None) -> str:
    return f"Last error: {text}" if text else ""


#: How a value is shown, by name: static/live_values.js has the same.
KINDS: dict[str, Callable[[Any], str]] = {
    "short": templating.short,
    "count": templating.number,
    "money": templating.money,
    "duration": templating.duration,
    "percent": templating.percent,
    "cosine": _cosine,
    "workers": _workers,
    "wait": _wait,
    "slow": _slow,
    "from": _from,
    "error": _error,
}


class LiveValues:
    """Writes values of an answer of ``/console/api/now`` so that a script finds them again."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        self._answer = answer

    def __call__(self, path: str, kind: str) -> Markup:
        """Return an element with the value at a path such as ``figures.p50_ms``."""
        text = KINDS[kind](self._at(path))
        return Markup('<span data-live="{}" data-as="{}">{}</span>').format(path, kind, text)

    def state(self, path: str) -> Markup:
        """Return the tag of a deployment's state."""
        state = self._at(path)
        return Markup('<span class="tag {}" data-live="{}" data-as="state">{}</span>').format(
            STATE_CLASSES[state], path, state
        )

    def _at(self, path: str) -> Any:
        found: Any = self._answer
        for name in path.split("."):
            if found is None:
                return None
            found = found[int(name)] if isinstance(found, list) else found.get(name)
        return found
