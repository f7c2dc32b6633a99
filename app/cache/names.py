"""Names of the keys in the shared server."""

from __future__ import annotations

from hashlib import blake2b


class Names:
    """Builds the names of the server's keys: ``namespace:version:space:generation:key``.

    The version is of this layout. The space is a digest of the vector space's id, so that its
    entries share a prefix. The generation changes when a space is cleared, so that what is being
    written at that moment is not found again.
    """

    def __init__(self, namespace: str) -> None:
        self._root = f"{namespace}:2"
        self.generations = f"{self._root}:generations"  # hash: space's digest or "*" → token
        self.workers = f"{self._root}:workers"  # hash: host:pid → report

    def entries(self, space: str | None = None) -> str:
        """Return the pattern of the names of a space's entries, or of all entries."""
        return f"{self._root}:v:{'*' if space is None else digest(space)}:*"

    def prefix(self, space: str, generations: dict[str, str]) -> str:
        """Return the prefix of the names of a space's entries, by the generations now."""
        own = digest(space)
        generation = generations.get("*", "") + generations.get(own, "")
        return f"{self._root}:v:{own}:{generation}:"


def digest(space: str) -> str:
    """Return a short name of a space that needs no escaping."""
    return blake2b(space.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
