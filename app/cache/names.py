"""Names of the keys in the shared server."""

from __future__ import annotations

from hashlib import blake2b


class Names:
    """Builds the names of the server's keys: ``namespace:version:model:generation:key``.

    The version is of this layout. The model is a digest, so that its entries share a prefix. The
    generation changes when a model is cleared, so that what is being written at that moment is not
    found again.
    """

    def __init__(self, namespace: str) -> None:
        self._root = f"{namespace}:1"
        self.generations = f"{self._root}:generations"  # hash: model's digest or "*" → token
        self.workers = f"{self._root}:workers"  # hash: host:pid → report

    def entries(self, model: str | None = None) -> str:
        """The pattern of the entries of a model, or of all."""
        return f"{self._root}:v:{'*' if model is None else digest(model)}:*"

    def prefix(self, model: str, generations: dict[str, str]) -> str:
        """What the keys of a model begin with now."""
        own = digest(model)
        generation = generations.get("*", "") + generations.get(own, "")
        return f"{self._root}:v:{own}:{generation}:"


def digest(model: str) -> str:
    """A short name of a model that needs no escaping."""
    return blake2b(model.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
