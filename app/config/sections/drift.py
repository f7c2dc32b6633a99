"""``CHECK``: how the vectors of deployments are compared with recorded ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from app.config.sections.declaration import choice, number, text

#: A cosine below this shows another vector space. Engines with the same weights that differ in
#: hardware or float16 stay above it; see docs/operations.md for measured ones.
DEFAULT_MIN_COSINE = 0.999


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """``CHECK``: the vectors of every deployment against those that `check --record` has kept."""

    every: float = number(
        3600.0, 1, 31 * 86400, "Seconds between two checks of a deployment, in the background."
    )
    min_cosine: float = number(
        DEFAULT_MIN_COSINE,
        0,
        1,
        "A deployment has drifted where one text's vector and its reference vector have a lower "
        "cosine than this.",
    )
    on_drift: Literal["eject", "warn"] = choice(
        "warn",
        ["warn", "eject"],
        "'eject': one that has drifted is not called, and a model with no other answers 503 "
        "`space_drifted`. 'warn': the log, /metrics and /v1/providers tell.",
    )
    reference: str = text(
        "space-references.json",
        "path of a file",
        "Where the reference vectors are without USAGE (else they are in its database). A relative "
        "path is beside the settings file.",
    )

    @property
    def ejects(self) -> bool:
        """Whether a deployment that has drifted is not called."""
        return self.on_drift == "eject"

    def beside(self, settings_file: str | None) -> CheckSettings:
        """Return the same with the path of ``reference`` from the place of the settings file."""
        directory = Path(settings_file).parent if settings_file else Path()
        return replace(self, reference=str(directory / self.reference))
