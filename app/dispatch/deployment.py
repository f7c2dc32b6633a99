"""A deployment: one model at one provider, and how a request is put to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from app.config import DeploymentSettings, ModelSettings
from app.domain import Call, EmbeddingRequest, Item, Vectors
from app.errors import BrokenContract
from app.providers.base import Provider
from app.vectors import BadVector, cut


class Deployment:
    """Knows what its provider takes, and makes up for what it does not."""

    def __init__(
        self, model: ModelSettings, settings: DeploymentSettings, provider: Provider
    ) -> None:
        self.settings = settings
        self.name = settings.provider
        self._model = model
        self._provider = provider

    def can_serve(self, dimensions: int | None) -> bool:
        """Whether vectors of that width can be had here."""
        return (
            dimensions is None
            or self._provider.capabilities.dimensions
            or dimensions == self._model.dimensions
            or self._model.can_cut_to(dimensions)
        )

    def call(self, request: EmbeddingRequest, items: Sequence[Item]) -> Call:
        """The call for some of a request's items."""
        takes = self._provider.capabilities
        sent = request.dimensions if takes.dimensions else None
        return Call(
            model=self.settings.model,
            items=items,
            width=sent or self._model.dimensions,
            dimensions=sent,
            input_type=request.input_type,
            user=request.user if takes.user else None,
            passed=request.passed,
        )

    def embed(self, call: Call, wanted: int | None, deadline: float) -> Vectors:
        """Make the call; cut the vectors to ``wanted`` where the provider could not."""
        vectors = self._provider.embed(call, deadline)
        if wanted is None or call.dimensions is not None or wanted == call.width:
            return vectors
        try:
            return replace(vectors, rows=[cut(row, wanted) for row in vectors.rows])
        except BadVector as error:
            raise BrokenContract(f"answered {error}") from error
