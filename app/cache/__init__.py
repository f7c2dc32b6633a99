"""Caches of vectors, item by item. The key holds all that changes a vector."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.cache.memory import Caches
    from app.config import CacheSettings


def make_cache(settings: CacheSettings | None) -> Caches | None:
    """Make the cache of the settings: none, the worker's own, or that and a shared one."""
    from app.cache.memory import MemoryCache

    if settings is None:
        return None
    memory = MemoryCache(settings.max_bytes, settings.ttl)
    if settings.url is None:
        return memory
    from app.cache.shared import SharedCache  # redis-py is not needed otherwise
    from app.cache.tiered import TieredCache

    url, ttl = settings.url, settings.ttl
    return TieredCache(
        memory,
        lambda cleared, report: SharedCache(
            url, ttl, settings.namespace, settings.timeout, cleared=cleared, report=report
        ),
    )
