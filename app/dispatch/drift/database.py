"""References in the ledger's database, which all hosts share."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy.engine import Connection

from app.database import space_references as table
from app.database.audit import os_actor
from app.database.engine import Database, Refused, Unavailable
from app.dispatch.drift.reference import BadReference, Reference, ReferencesUnavailable

_log = logging.getLogger("app.drift")
T = TypeVar("T")


class DatabaseReferences:
    """Reads and writes the table ``space_references``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> str:
        return "the database of USAGE"

    def version(self) -> object:
        return self._run(table.version)

    def load(self) -> dict[str, Reference]:
        found: dict[str, Reference] = {}
        for row in self._run(table.read):
            reference = Reference(
                row["space"],
                bytes(row["vectors"]),
                row["recorded_at"],
                row["recorded_from"],
                row["texts"],
            )
            try:
                found[reference.space] = reference.checked()
            except BadReference as error:
                _log.error("the database of USAGE: %s: record it anew", error)
        return found

    def save(self, references: Sequence[Reference]) -> None:
        rows = [
            {
                "space": r.space,
                "texts": r.texts_id,
                "vectors": r.vectors,
                "recorded_at": r.recorded_at,
                "recorded_from": r.recorded_from,
            }
            for r in references
        ]
        self._run(lambda connection: table.replace(connection, rows, os_actor(), time.time()))

    def _run(self, function: Callable[[Connection], T]) -> T:
        try:
            return self._database.run(function)
        except (Unavailable, Refused) as error:
            raise ReferencesUnavailable(
                f"the database of USAGE: {error} (are the tables there? flask --app wsgi usage "
                "migrate)"
            ) from error
