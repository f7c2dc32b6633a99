"""Effects of faults on callers, in virtual time: ``python -m tests.dispatch.figures``.

Prints a table for docs/dispatch.md. Each row is a load of ten minutes or less on the real pipeline
and dispatch; 100 requests a second to two deployments whose calls take 0.05 s, unless it says
otherwise. The same seed gives the same figures.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from app.errors import Rejected, Throttled
from tests.dispatch.arrangements import START, load, models, waited
from tests.dispatch.asked import Asked
from tests.dispatch.members import (
    POISON,
    Behaviour,
    between,
    dead,
    failing,
    good,
    silent,
)
from tests.dispatch.simulator import Simulation, simulated

LATE = 1.0  # seconds
ONSET = START + 10  # of the fault
AB = models("a", "b")


@dataclass(frozen=True)
class Row:
    """One fault: behaviours of the providers, and the load; ``extra`` makes further requests."""

    name: str
    members: dict[str, Behaviour]
    seconds: int = 60
    per_second: int = 100
    timeout: float = 30
    models: dict[str, list[dict[str, Any]]] | None = None
    extra: Callable[[Simulation], object] | None = None
    provider: dict[str, Any] | None = None


def from_onset(ill: Behaviour, seconds: float = 1e9) -> Behaviour:
    return between(ONSET, ONSET + seconds, ill, good())


def bursts_of_429(world: Any, call: Any) -> Any:
    """Answer 429 without Retry-After for 0.3 seconds, every 20 seconds."""
    ill = (world.now - ONSET) % 20 < 0.3 and world.now > ONSET
    return 0.05, Throttled("asked us to slow down (429)") if ill else None


def refuses_all(world: Any, call: Any) -> Any:
    return 0.01, Rejected("API version not supported")


def bad_texts(per_second: int, seconds: int) -> Callable[[Simulation], object]:
    return lambda run: [
        run.ask("m", [f"{POISON}{i}"], after=i / per_second, timeout=30)
        for i in range(per_second * seconds)
    ]


def rows() -> Iterator[Row]:
    well = good()
    yield Row("all are well", {"a": well, "b": well})
    yield Row("one fails 30 % of its calls", {"a": from_onset(failing(0.3)), "b": well})
    yield Row("both fail 30 % of their calls", dict.fromkeys("ab", from_onset(failing(0.3))))
    yield Row("one fails all its calls", {"a": from_onset(failing(1)), "b": well})
    yield Row("one is killed, and back after 20 s", {"a": from_onset(dead, 20), "b": well})
    yield Row("one falls silent", {"a": from_onset(silent), "b": well})
    yield Row(
        "one falls silent; 1 request/s, timeout 3 s",
        {"a": from_onset(silent), "b": well},
        seconds=600,
        per_second=1,
        timeout=3,
    )
    yield Row("bursts of 429 at both, 0.3 s every 20 s", dict.fromkeys("ab", bursts_of_429))
    yield Row("one answers 400 to everything", {"a": refuses_all, "b": well})
    for bad in (1, 10):
        yield Row(
            f"{bad} bad texts/s among 400 requests/s, one provider, 2 slots (the good ones)",
            {"a": well},
            seconds=15,
            per_second=400,
            models=models("a", max_inputs=64),
            extra=bad_texts(bad, 15),
            provider={"concurrency": 2},
        )


def figures(row: Row) -> list[str]:
    """Return the columns of a row: requests, errors, slowest, shares late and sent again."""
    with simulated(row.members, row.models or AB, **row.provider or {}) as run:
        number = row.seconds * row.per_second
        asked = load(run, number, 1 / row.per_second, timeout=row.timeout)
        if row.extra is not None:
            row.extra(run)
        run.world.run()
        errors = sum(one.error is not None for one in asked)
        waits = sorted(map(waited, asked))
        late = sum(wait > LATE for wait in waits)
        extra = _items_sent_again(run, asked) / number
    return [
        f"{number:,}",
        f"{errors:,}",
        f"{waits[-1]:.2f} s",
        f"{100 * late / number:.2f} %",
        f"{100 * extra:.1f} %",
    ]


def _items_sent_again(run: Simulation, asked: list[Asked]) -> int:
    """Return how often an item was sent again."""
    sent = Counter(item for call in run.calls() for item in call.items)
    return sum(max(0, sent[one.request.items[0]] - 1) for one in asked)


def main() -> None:
    columns = ["trouble", "requests", "errors", "slowest", f"over {LATE:g} s", "sent again"]
    print("| " + " | ".join(columns) + " |")
    print("|---" * len(columns) + "|")
    began = time.monotonic()
    for row in rows():
        print("| " + " | ".join([row.name, *figures(row)]) + " |", flush=True)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
