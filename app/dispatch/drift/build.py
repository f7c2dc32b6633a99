"""Makes the watch and the references of the settings. Packages that are not used are not needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from app.config import CheckSettings, Settings
from app.dispatch import Dispatcher
from app.dispatch.drift.reference import References
from app.dispatch.drift.watch import DriftWatch

if TYPE_CHECKING:
    from app.database.engine import Database
    from app.dispatch.drift.valkey import SharedResults


def make_references(check: CheckSettings, database: Database | None) -> References:
    """Return where the references are: in the ledger's database, or without one in a file."""
    if database is None:
        from app.dispatch.drift.file import FileReferences

        return FileReferences(Path(check.reference))
    from app.dispatch.drift.database import DatabaseReferences

    return DatabaseReferences(database)


def make_shared_results(settings: Settings) -> SharedResults | None:
    """Return the results of all hosts, in the server of the limits or of the cache, if any.

    That of the limits first: it evicts nothing.
    """
    limits, cache = settings.limits, settings.cache
    if limits.url is not None:
        url, namespace = limits.url, limits.namespace
    elif cache is not None and cache.url is not None:
        url, namespace = cache.url, cache.namespace
    else:
        return None
    from app.dispatch.drift.valkey import SharedResults

    return SharedResults(url, namespace)


def make_watch(
    dispatcher: Dispatcher,
    settings: Settings,
    check: CheckSettings,
    directory: Path,
    database: Database | None,
) -> DriftWatch:
    """Return the watch; its workers share results in ``directory``."""
    references, shared = make_references(check, database), make_shared_results(settings)
    return DriftWatch(dispatcher, settings, check, references, directory, shared)
