"""The widths of vectors that a deployment can return: its model's, or cut ones. Pure."""

from __future__ import annotations

from app.config import ModelSettings
from app.errors import Rejected, shown


class Widths:
    """The widths of one deployment. ``takes_dimensions``: its provider cuts vectors itself."""

    def __init__(self, model: ModelSettings, takes_dimensions: bool) -> None:
        self._model = model
        self._takes_dimensions = takes_dimensions

    def include(self, dimensions: int | None) -> bool:
        """Whether this deployment can return vectors of that width; None: of the model's own."""
        widest = self._model.dimensions
        if dimensions is not None and widest is not None and dimensions > widest:
            return False
        return (
            dimensions is None
            or self._takes_dimensions
            or dimensions == self._model.dimensions
            or self._model.can_cut_to(dimensions)
        )

    def refusal_of(self, dimensions: int | None) -> Rejected | None:
        """Return the error for a width that it can never return; None for any other width."""
        if self.include(dimensions):
            return None
        return Rejected(
            f"Invalid value for 'dimensions' = {shown(dimensions)}. "
            "This model cannot give vectors of that width.",
            param="dimensions",
        )

    def narrower(self) -> int | None:
        """Return a width below the model's own to which its vectors can be cut, if any."""
        model = self._model
        if isinstance(model.matryoshka, tuple):
            return min((w for w in model.matryoshka if w != model.dimensions), default=None)
        return max(1, model.dimensions // 2) if model.matryoshka and model.dimensions else None
