"""Caches of vectors, item by item.

* `keys`: the key of an item, which holds all that changes its vector.
* `memory`: the cache of a worker.
* `shared`: with ``CACHE["url"]``, the cache of all workers, in a server. `entries`: the names of
  its entries there, and their bytes; `chunks`: how many keys are asked for at once.
* `tiered`: both caches as one; `admin`: what commands do with the shared one.
* `singleflight`: items that are being embedded for another request are waited for. `load`: items
  that are embedded together; `fetch`: one request that waits for them, what it got, and its 504 at
  the deadline.
"""

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
