"""Keeps a worker's `Blocklist` as the database has it, by a query every `POLL_S` seconds.

While the database does not answer, the blocks in memory stay in force, however long that lasts. A
worker that starts meanwhile reads them from a file, which each change of the blocks replaces.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from app.auth.block_table import BlockTable
from app.auth.blocklist import Block, Blocklist
from app.auth.snapshots import read_private, write_private
from app.concurrency.periodic import PeriodicTask
from app.database.engine import Unavailable

_log = logging.getLogger("app.auth")

POLL_S = 2.0
#: Seconds that a start waits for the first query: the blocks of the file are in force meanwhile.
START_WAIT_S = 2.0
#: Incremented when the meaning of the file's content changes.
FORMAT = 1


class BlocklistRefresh:
    """Refreshes a blocklist in the background. `start` it in the process that serves."""

    def __init__(
        self, table: BlockTable, blocklist: Blocklist, path: Path, poll_s: float = POLL_S
    ) -> None:
        self._table, self._blocklist, self._path = table, blocklist, path
        self._version: int | None = None
        self._is_away = False  # the last query got no answer
        self._first_query_ended = threading.Event()
        self._task = PeriodicTask("access-blocks", self._poll, poll_s)

    def start(self) -> None:
        """Use the blocks of the file, then those of the database, and poll."""
        has_file = self._use_file()
        self._task.start()
        self._first_query_ended.wait(START_WAIT_S)
        if self._version is None and not has_file:
            _log.warning("the table of blocks is away, and no file has a copy: none is in force")

    def stop(self) -> None:
        self._task.stop()

    def _poll(self) -> None:
        try:
            self.refresh()
        finally:
            self._first_query_ended.set()

    def wake(self) -> None:
        """Refresh now, in the background: this process has changed a block."""
        self._task.wake()

    def refresh(self) -> None:
        """Read the version, and all blocks if it has changed."""
        try:
            if self._table.version() == self._version:
                self._is_away = False
                return
            version, blocks = self._table.read()
        except Unavailable as error:
            if not self._is_away:
                _log.warning("the table of blocks does not answer: %s", error)
            self._is_away = True
            return
        self._is_away = False
        self._blocklist.replace(blocks)
        self._version = version
        self._write_file(blocks)

    def _write_file(self, blocks: Sequence[Block]) -> None:
        """Keep the blocks for workers that start without the database; no file means none."""
        content = {"format": FORMAT, "blocks": [asdict(block) for block in blocks]}
        try:
            if not blocks and not self._path.exists():
                return  # nor is a directory made where nothing was ever blocked
            write_private(self._path, json.dumps(content).encode())
        except OSError as error:
            _log.warning("the blocks cannot be kept in a file: %s", error)

    def _use_file(self) -> bool:
        """Put the blocks of the file in force; return whether there are any to rely on."""
        try:
            content = read_private(self._path)
            if not isinstance(content, dict) or content.get("format") != FORMAT:
                raise ValueError("it is of another version")
            self._blocklist.replace([Block(**row) for row in content["blocks"]])
            return True
        except FileNotFoundError:
            return False
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("the blocks that are kept in a file cannot be used: %s", error)
            return False
