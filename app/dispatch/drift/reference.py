"""Reference vectors of a vector space, and the comparison of vectors with them. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

import numpy as np
import pybase64

from app.dispatch.drift.texts import NAMES, TEXTS_ID
from app.vectors import BYTES_PER_VALUE


class ReferencesUnavailable(Exception):
    """The recorded vectors cannot be read or written now. A retry may succeed."""


class BadReference(ValueError):
    """A stored reference is damaged, or of another version."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The vectors of the probe texts in one space, as float32 bytes, in the order of the texts."""

    space: str
    vectors: bytes
    recorded_at: int  # milliseconds since 1970
    recorded_from: str  # the label of a deployment
    texts_id: str = TEXTS_ID

    @property
    def id(self) -> str:
        """A digest that changes with the vectors: results are of one reference."""
        return sha256(self.vectors).hexdigest()[:16]

    @property
    def is_current(self) -> bool:
        """Whether its vectors are of the probe texts of this version of the program."""
        return self.texts_id == TEXTS_ID

    @property
    def rows(self) -> list[bytes]:
        """The vector of each text."""
        size = len(self.vectors) // len(NAMES)
        return [self.vectors[start : start + size] for start in range(0, len(self.vectors), size)]

    def as_dict(self) -> dict[str, Any]:
        """Return the reference for JSON."""
        return {
            "texts": self.texts_id,
            "recorded_at": self.recorded_at,
            "recorded_from": self.recorded_from,
            "vectors": pybase64.b64encode(self.vectors).decode(),
        }

    @classmethod
    def from_dict(cls, space: str, found: Any) -> Reference:
        """Return the reference that `as_dict` made this of. Raises `BadReference`."""
        try:
            vectors = pybase64.b64decode(found["vectors"], validate=True)
            texts, at, label = found["texts"], int(found["recorded_at"]), found["recorded_from"]
        except (KeyError, TypeError, ValueError) as error:
            raise BadReference(f"the reference of space {space!r} is damaged") from error
        return cls(space, vectors, at, str(label), str(texts)).checked()

    def checked(self) -> Reference:
        """Return the same if its vectors can be compared with. Raises `BadReference`."""
        size, rest = divmod(len(self.vectors), len(NAMES) * BYTES_PER_VALUE)
        if self.is_current and (rest or not size or not _is_valid(matrix_of(self.rows))):
            raise BadReference(f"the reference of space {self.space!r} is damaged")
        return self


class References(Protocol):
    """Where references are kept. Every method raises `ReferencesUnavailable`."""

    def version(self) -> object:
        """Return what changes with every `save`."""

    def load(self) -> dict[str, Reference]:
        """Return all references by space; a damaged one is logged and left out."""

    def save(self, references: Sequence[Reference]) -> None:
        """Replace the references of these spaces."""

    def describe(self) -> str:
        """Return where they are, without secrets."""


@dataclass(frozen=True, slots=True)
class Cosines:
    """The cosine of each text's vector with its reference vector, in the order of ``names``."""

    values: tuple[float, ...]
    names: Sequence[str] = NAMES

    @property
    def lowest(self) -> float:
        return min(self.values)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def text(self) -> str:
        """The name of the text with the lowest cosine."""
        return self.names[self.values.index(self.lowest)]


def compare(
    rows: Sequence[bytes], others: Sequence[bytes], names: Sequence[str] = NAMES
) -> Cosines:
    """Return the cosines of two sets of vectors of the texts; all 0 where widths differ.

    Rounded to 9 digits: float32 has 7, and equal vectors have the cosine 1.
    """
    if {len(row) for row in rows} != {len(others[0])}:
        return Cosines((0.0,) * len(rows), names)
    a, b = matrix_of(rows), matrix_of(others)
    dots = (a * b).sum(axis=1)
    cosines = dots / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return Cosines(tuple(np.clip(cosines, -1.0, 1.0).round(9).tolist()), names)


def matrix_of(rows: Sequence[bytes]) -> np.ndarray:
    """Return rows as a matrix of float64."""
    return np.frombuffer(b"".join(rows), "<f4").reshape(len(rows), -1).astype(np.float64)


def _is_valid(matrix: np.ndarray) -> bool:
    return bool(np.isfinite(matrix).all() and matrix.any(axis=1).all())
