"""A fake of the ledger's database."""

import threading

from app.database.columns import COLUMNS
from app.database.engine import Refused


class FakeStore:
    """Stores rows by key. ``error`` is raised if set; the row "bad" is refused."""

    def __init__(self):
        self.rows = {}
        self.batches = []
        self.error = None
        self.hold = threading.Event()
        self.hold.set()

    def insert(self, rows):
        assert self.hold.wait(60)
        if self.error is not None:
            raise self.error
        if any(r[COLUMNS.index("user")] == "bad" for r in rows):
            raise Refused("no such character")
        self.batches.append(len(rows))
        self.rows |= {tuple(r[:2]): r for r in rows}

    def insert_each(self, rows):
        bad = [r for r in rows if r[COLUMNS.index("user")] == "bad"]
        self.insert([r for r in rows if r not in bad])
        return [(r, "no such character") for r in bad]
