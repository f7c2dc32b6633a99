"""Read and change the blocks in the database (`app.auth.blocklist` refuses by them)."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.auth.blocklist import BLOCKED_KINDS, Block, BlockedKind
from app.database.tables import blocks
from app.database.versioned_table import VersionedTable, version_in

#: Characters of the reason of a block.
MAX_REASON_CHARACTERS = 500
#: Characters of a name: as many as the field ``user`` of a request may have.
MAX_NAME_CHARACTERS = 256

_c = blocks.c


class BlockTable(VersionedTable):
    """The table of blocks; each change increments the version that the keys have, too."""

    def read(self) -> tuple[int, list[Block]]:
        """Return the version, and all blocks, also some that have ended.

        The blocks may be newer than the version, never older: the version is read first.
        """
        return self._run(lambda connection: (version_in(connection), _select(connection)))

    def block(
        self, kind: BlockedKind, name: str, until: int | None = None, reason: str = ""
    ) -> Block:
        """Block a key or an end user, or replace its block; remove those that have ended.

        Raises ValueError.
        """
        reason = reason.strip()
        if kind not in BLOCKED_KINDS:
            raise ValueError(f"{kind!r:.100} cannot be blocked: {', '.join(BLOCKED_KINDS)}")
        if not name or len(name) > MAX_NAME_CHARACTERS or "\0" in name:
            raise ValueError(f"the name must have 1 to {MAX_NAME_CHARACTERS} characters")
        if len(reason) > MAX_REASON_CHARACTERS:
            raise ValueError(f"the reason may have {MAX_REASON_CHARACTERS} characters")
        now = self._clock()
        if until is not None and until <= now:
            raise ValueError("the block would end before it begins")
        made = Block(kind, name, until, reason, int(now), self._actor)

        def change(connection: Connection) -> Block:
            connection.execute(sa.delete(blocks).where(*_is(kind, name)))
            # The audit log has those that have ended; workers would read more and more of them.
            connection.execute(sa.delete(blocks).where(_c.until <= int(now)))
            connection.execute(sa.insert(blocks).values(asdict(made)))
            self._record(connection, f"{kind}.block", name, {"until": until, "reason": reason})
            return made

        return self._change(change)

    def unblock(self, kind: BlockedKind, name: str) -> Block | None:
        """End a block, and return it; None if there is none."""

        def change(connection: Connection) -> Block | None:
            found = _select(connection, *_is(kind, name))
            if not found:
                return None
            connection.execute(sa.delete(blocks).where(*_is(kind, name)))
            self._record(connection, f"{kind}.unblock", name, {})
            return found[0]

        return self._change(change)


def _is(kind: BlockedKind, name: str) -> tuple[sa.ColumnElement[bool], ...]:
    return _c.kind == kind, _c.name == name


def _select(connection: Connection, *where: sa.ColumnElement[bool]) -> list[Block]:
    statement = sa.select(blocks).where(*where).order_by(_c.kind, _c.name)
    return [Block(**row) for row in connection.execute(statement).mappings()]
