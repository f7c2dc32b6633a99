"""How the slots of a provider are leased to the workers of one host. Pure.

The rules are those of `app.limits.leases.slot_lease_script`, whose docstring explains them: this is
the same algorithm for hosts without a Redis or Valkey, and gives the same answers to the same
questions. A test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from app.dispatch.queue.leased_slots import SlotLease, SlotLeaseRequest

# The script has the same numbers: it is made of these.

#: Seconds for which a new table leases nothing: workers that have slots ask it within that time.
GRACE_S = 2.0
#: A worker is silent from so many seconds after its last question.
SILENT_S = 3.0
#: A silent worker is removed so many seconds after its last question, or later: when all its calls
#: have ended.
DEAD_S = 75.0
#: Where more workers than slots need one, a worker may hold a slot for so many seconds, at least.
TURN_S = 0.25
#: A worker without a slot is in line for one until so many seconds after its last question.
IN_LINE_S = 0.5


@dataclass(slots=True)
class Row:
    """What is known of a worker. Times are those of a clock that all workers of the host share."""

    seen: float
    held: int
    number: int = 0
    need: int = 0
    is_busy: bool = False
    lacks: bool = False
    turn: float = 0.0  # since when it has slots
    line: float = 0.0  # since when something waits while it has none; 0: not so


@dataclass(slots=True)
class SlotTable:
    """The workers that use a provider, by name."""

    seen: float  # the last question
    since: float  # when the table began to know all workers
    rows: dict[str, Row] = field(default_factory=dict)

    @classmethod
    def from_values(cls, values: Any) -> SlotTable:
        """Return the table of `values`. Raises TypeError, ValueError, AttributeError."""
        seen, since, rows = values
        return cls(float(seen), float(since), {name: Row(*row) for name, row in rows.items()})

    def values(self) -> list[Any]:
        """Return the table as values of JSON."""
        rows = {
            n: [r.seen, r.held, r.number, r.need, r.is_busy, r.lacks, r.turn, r.line]
            for n, r in self.rows.items()
        }
        return [self.seen, self.since, rows]

    def remove(self, has_ended: Callable[[str, Row], bool]) -> None:
        """Remove workers that have ended: their calls have ended with them."""
        self.rows = {name: row for name, row in self.rows.items() if not has_ended(name, row)}

    def exchange(
        self, worker: str, limit: int, hold_s: float, asked: SlotLeaseRequest, now: float
    ) -> SlotLease | None:
        """Answer a question; None where a later one came first."""
        me, others = self.rows.get(worker), self._others(worker, hold_s, now)
        if me is not None and asked.number <= me.number:
            return None
        if now - self.seen > SILENT_S and (me or others):
            self.since = now
        self.seen = now
        # A worker's share, which one uses that cannot reach the store.
        share = limit // (len(others) + 1)
        # The slots that count as taken, of each other worker.
        counted = {
            name: row.held if now - row.seen <= SILENT_S else max(row.held, share)
            for name, row in others.items()
        }
        # The workers that are not silent.
        live = {name: row for name, row in others.items() if now - row.seen <= SILENT_S}
        # The slots to share among those: all but the ones that count for silent workers.
        pool = max(0, limit - sum(n for name, n in counted.items() if name not in live))
        mine = self._mine(me, asked, now)
        # The slots that no worker has.
        free = limit - sum(counted.values()) - asked.kept
        entitled = asked.kept
        if not asked.is_leaving and now - self.since >= GRACE_S:
            entitled = _entitled(worker, mine, live, pool, free, now)
            mine.held += max(0, min(entitled - asked.kept, free))
        self._keep(worker, mine, asked)
        others_lack = any(row.lacks for row in live.values())
        rank = sum(name < worker for name in others)
        return SlotLease(mine.held, entitled, others_lack, len(others) + 1, rank)

    def _others(self, worker: str, hold_s: float, now: float) -> dict[str, Row]:
        silent_s = max(DEAD_S, hold_s)
        self.rows = {n: r for n, r in self.rows.items() if n == worker or now < r.seen + silent_s}
        return {name: row for name, row in self.rows.items() if name != worker}

    @staticmethod
    def _mine(me: Row | None, asked: SlotLeaseRequest, now: float) -> Row:
        """Return the asking worker's row, with the slots that it keeps."""
        line = turn = 0.0
        if asked.lacks_slot and asked.kept == 0:
            line = me.line if me is not None and me.line > 0 else now
        has_kept_some = me is not None and me.held > 0 and asked.kept > 0
        turn = me.turn if me is not None and has_kept_some else now
        return Row(
            now, asked.kept, asked.number, asked.needed, asked.is_busy, asked.lacks_slot, turn, line
        )

    def _keep(self, worker: str, mine: Row, asked: SlotLeaseRequest) -> None:
        if asked.is_leaving:
            self.rows.pop(worker, None)
            return
        if mine.held > 0:
            mine.line = 0.0
        else:
            mine.turn = 0.0
        self.rows[worker] = mine


def _entitled(
    worker: str, mine: Row, live: dict[str, Row], pool: int, free: int, now: float
) -> int:
    """Return the slots that a worker may go on using. ``live``: the others that are not silent."""
    busy = mine.is_busy + sum(row.is_busy for row in live.values())
    if busy > pool:
        return _entitled_by_turns(worker, mine, live, free, now)
    rows = {worker: mine, **live}
    wanting = sum(row.need > 0 for row in rows.values())
    needs = {
        name: 0 if wanting > pool and not row.is_busy else row.need for name, row in rows.items()
    }
    return _max_min(worker, needs, pool)


def _entitled_by_turns(worker: str, mine: Row, live: dict[str, Row], free: int, now: float) -> int:
    """Return 1 or 0: more workers than slots need one, and each holds a slot for a turn."""
    if not mine.is_busy:
        return 0
    in_line = {n: r.line for n, r in live.items() if r.line > 0 and now - r.seen <= IN_LINE_S}
    if mine.held > 0:
        return 0 if in_line and now - mine.turn >= TURN_S else 1
    before = sum((line, name) < (mine.line, worker) for name, line in in_line.items())
    return 1 if mine.line > 0 and free > before else 0


def _max_min(worker: str, needs: dict[str, int], pool: int) -> int:
    """Return a worker's slots by max-min fairness: all that it needs, or as many as any other.

    Where all have what they need, each has an even part of the rest, too.
    """
    left, workers = pool, len(needs)
    for need in sorted(needs.values()):
        fair = left / workers
        if need > fair:
            if needs[worker] <= fair:
                return needs[worker]
            return _even_part(worker, (n for n, need in needs.items() if need > fair), left)
        left, workers = left - need, workers - 1
    return needs[worker] + left // len(needs)


def _even_part(worker: str, names: Iterable[str], slots: int) -> int:
    """Return a worker's part of slots that all ``names`` share; the first have the remainder."""
    sharing = sorted(names)
    part, rest = divmod(slots, len(sharing))
    return part + (sharing.index(worker) < rest)
