"""Labels of keys in metrics, bounded in number: tokens may name any number of callers."""

from __future__ import annotations

from collections.abc import Iterable

#: Keys with a label of their own.
MAX_LABELLED_KEYS = 200
#: The label of a request without a caller, and of all keys without a label of their own.
NO_KEY, OTHER_KEYS = "", "other"


class KeyLabels:
    """Labels the first `MAX_LABELLED_KEYS` keys of the settings, in the order of their names."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._labelled = frozenset(sorted(keys)[:MAX_LABELLED_KEYS])

    def label(self, name: str) -> str:
        """Return the label of a caller."""
        return name if name in self._labelled or name == NO_KEY else OTHER_KEYS
