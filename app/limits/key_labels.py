"""Names of keys as labels of metrics: bounded, whatever tokens and tables name their callers."""

from __future__ import annotations

from collections.abc import Iterable

#: Keys that get a label of their own.
MAX_LABELLED_KEYS = 200
#: The label of a request without a caller, and of all keys that have none of their own.
NO_KEY, OTHER_KEYS = "", "other"


class KeyLabels:
    """The first `MAX_LABELLED_KEYS` keys of the settings, by name."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._labelled = frozenset(sorted(keys)[:MAX_LABELLED_KEYS])

    def label(self, name: str) -> str:
        """The label of a caller's name."""
        return name if name in self._labelled or name == NO_KEY else OTHER_KEYS
