"""Compares the ledger with what the callers were answered and with what the providers counted."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from app.database.engine import Database

#: Seconds for which the spool must have been empty: its longest step takes one.
_QUIET_S = 2.5


@dataclass(frozen=True)
class Difference:
    """What the books say. Each field but the first two is 0 where nothing was forced."""

    rows: int
    billed: int  # tokens
    missing: frozenset[str]  # request ids that were answered and have no row
    unanswered: int  # rows whose answer reached no caller
    repeated: int  # rows of a request that has one already
    wrong_status: int  # rows with another status than that of the answer
    unbilled: int  # tokens that the providers counted and no row bills

    def differences(self) -> dict[str, int]:
        """What is not as it should be, by name; empty if the books are right."""
        numbers = {**vars(self), "missing": len(self.missing)}
        return {name: n for name, n in numbers.items() if n and name not in ("rows", "billed")}

    def noted(self) -> dict[str, Any]:
        """The numbers for a note."""
        return {"rows": self.rows, "billed": self.billed, **self.differences()}


class Books:
    """Of one stack. ``statuses`` are those of the answers to callers with a key, by request id."""

    def __init__(self, url: str, spool: Path, counts: list[Path]) -> None:
        self._url, self._spool, self._counts = url, spool, counts
        self.statuses: dict[str, int] = {}

    def compare(self, wait_s: float = 30) -> Difference:
        """Compare once no row is on its way: the spool is empty, and no answer misses its row.

        After ``wait_s`` seconds in any case.
        """
        end = time.monotonic() + wait_s
        quiet_since = time.monotonic()
        while True:
            time.sleep(0.1)
            now = time.monotonic()
            if list(self._spool.glob("*.rows1")):
                quiet_since = now
            if now > end or now - quiet_since > _QUIET_S:
                rows = self._rows()
                found = difference(self.statuses, rows, self._billed(), self.counted())
                if now > end or not found.missing:
                    return found
                quiet_since = now

    def counted(self) -> int:
        """Return the tokens that all providers have counted."""
        return sum(
            sum(map(int, path.read_text().split())) for path in self._counts if path.exists()
        )

    def _rows(self) -> list[tuple[str, int]]:
        found = self._run("SELECT request_id, status FROM usage_requests")
        return [(str(request_id), int(status)) for request_id, status in found]

    def _billed(self) -> int:
        ((billed,),) = self._run("SELECT SUM(billed_tokens) FROM usage_requests")
        ((summed,),) = self._run("SELECT SUM(billed_tokens) FROM usage_hours")
        assert billed == summed, "the rollups say the same as the rows"
        return int(billed or 0)

    def _run(self, query: str) -> list[Any]:
        database = Database(self._url)
        try:
            return database.run(lambda c: list(c.execute(sa.text(query)).all()))
        finally:
            database.close()


def difference(
    statuses: Mapping[str, int], rows: list[tuple[str, int]], billed: int, counted: int
) -> Difference:
    """Compare answers (status by request id) with rows (request id, status), and the tokens."""
    times = Counter(request_id for request_id, _ in rows)
    known = [(request_id, status) for request_id, status in rows if request_id in statuses]
    right = {request_id for request_id, status in known if statuses[request_id] == status}
    return Difference(
        rows=len(rows),
        billed=billed,
        missing=frozenset(statuses.keys() - times.keys()),
        unanswered=sum(1 for request_id in times if request_id not in statuses),
        repeated=len(rows) - len(times),
        wrong_status=len({request_id for request_id, _ in known} - right),
        unbilled=counted - billed,
    )
