"""When the settings were reloaded: gunicorn's master records it, and new workers read it.

The master imports this module before gevent patches the standard library, so it imports little.
"""

from __future__ import annotations

import os

VARIABLE = "EMBEDDINGS_PROXY_RELOADED_AT"


def record(now: float) -> None:
    """Record a reload, for the workers that start from now on; ``now`` in seconds since 1970."""
    os.environ[VARIABLE] = f"{now:.3f}"


def last() -> float | None:
    """Return when the settings of this process were reloaded; None: they never were."""
    try:
        return float(os.environ[VARIABLE])
    except (KeyError, ValueError):
        return None
