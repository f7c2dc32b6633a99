"""The geometry of the two drawings, in units of their SVG; colours are classes of console.css."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Texts in the heat map, and in the map: more would be too small to see, and a large page.
MAX_HEAT_TEXTS = 100
MAX_MAP_TEXTS = 200
#: Width and height of both drawings.
SIZE = 440
#: Colours of the heat map, from the lowest cosine to the highest.
LEVELS = 10

_HEAT_MARGIN, _HEAT_SIZE = 24, 400
_MAX_NUMBERED = 40  # texts of a heat map that has their numbers at its sides
_MAX_WRITTEN = 12  # texts of a heat map that has the cosines in it
_MAP_PADDING = 22
_MAX_LABELLED = 12  # points of a map that have their text beside them
_MAX_POINTS_NUMBERED = 60
_LABEL_LENGTH = 34  # characters
_CHARACTER, _LINE = 6.0, 13.0  # width and height of a label's, about
_DOT = 6.0  # half the width of a point
_NUDGES = (4.0, 17.0, -9.0, 30.0, -22.0, 43.0)  # of a label's base line, below its point


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Cosines as colours: ``paths`` are those of the lower triangle, by level, in cells."""

    count: int
    low: float  # the cosines of the first and the last colour
    high: float
    paths: list[tuple[int, str]]
    values: str  # thousandths of the lower triangle, row by row, for the page's script
    written: list[tuple[float, float, bool, str]]  # x, y, whether the cell is dark, the cosine

    margin = _HEAT_MARGIN

    @property
    def cell(self) -> float:
        """Width and height of a cell."""
        return _HEAT_SIZE / self.count

    @property
    def numbers(self) -> list[tuple[float, int]]:
        """Where the number of each text is, along both sides; none where they are too many."""
        if self.count > _MAX_NUMBERED:
            return []
        return [(self.margin + (i + 0.5) * self.cell, i + 1) for i in range(self.count)]


def heat_map(similar: np.ndarray) -> HeatMap:
    """Return the heat map of two texts or more; the colours span the cosines that there are."""
    count = len(similar)
    others = similar[np.tril_indices(count, -1)]
    low, high = float(others.min()), float(others.max())
    spread = (similar - low) / max(high - low, 1e-9)
    levels = (spread * LEVELS).astype(int).clip(0, LEVELS - 1)
    thousandths = np.rint(others * 1000).astype(int).tolist()
    cell = _HEAT_SIZE / count
    written = [
        (
            _HEAT_MARGIN + (column + 0.5) * cell,
            _HEAT_MARGIN + (row + 0.5) * cell + 3.5,
            bool(levels[row, column] >= LEVELS // 2),
            f"{round(float(similar[row, column]), 2) + 0.0:.2f}",  # no -0.00
        )
        for row in range(count if count <= _MAX_WRITTEN else 0)
        for column in range(count)
    ]
    return HeatMap(count, low, high, _paths(levels), " ".join(map(str, thousandths)), written)


def _paths(levels: np.ndarray) -> list[tuple[int, str]]:
    """Return a path of each level: rectangles over neighbours of a row with the same level."""
    found: dict[int, list[str]] = {}
    for row, values in enumerate(levels.tolist()):
        start = 0
        for column in range(1, row + 2):
            if column <= row and values[column] == values[start]:
                continue
            length = column - start
            found.setdefault(values[start], []).append(f"M{start} {row}h{length}v1h-{length}z")
            start = column
    return [(level, "".join(found[level])) for level in sorted(found)]


@dataclass(frozen=True, slots=True)
class Point:
    """A text on the map; ``label`` is beside it, if there is room."""

    number: int
    x: float
    y: float
    label: str = ""
    label_x: float = 0.0
    label_y: float = 0.0
    is_left: bool = False  # the label is on the left of the point


def scatter(points: np.ndarray, texts: Sequence[str]) -> list[Point]:
    """Return where points are in the drawing: both axes on one scale, so that distances hold."""
    middle = (points.max(axis=0) + points.min(axis=0)) / 2
    extent = float(np.ptp(points, axis=0).max()) or 1.0
    scale = (SIZE - 2 * _MAP_PADDING) / extent
    placed = SIZE / 2 + (points - middle) * scale * np.array([1.0, -1.0])
    spots = [(round(float(x), 1), round(float(y), 1)) for x, y in placed]
    if len(texts) > _MAX_LABELLED:
        are_numbered = len(texts) <= _MAX_POINTS_NUMBERED
        return [
            Point(i + 1, x, y, str(i + 1) if are_numbered else "", *_beside(x, y))
            for i, (x, y) in enumerate(spots)
        ]
    return _labelled(spots, texts)


def _beside(x: float, y: float) -> tuple[float, float, bool]:
    return (x + 8, y + 4, False) if x < SIZE - 30 else (x - 8, y + 4, True)


def _labelled(spots: Sequence[tuple[float, float]], texts: Sequence[str]) -> list[Point]:
    """Return the points with labels that are moved up or down so that they hide nothing."""
    boxes = [(x - _DOT, y - _DOT, x + _DOT, y + _DOT) for x, y in spots]
    found = []
    for i, (x, y) in enumerate(spots):
        is_left = x > SIZE / 2
        room = int((x if is_left else SIZE - x) / _CHARACTER) - 3
        label = shortened(f"{i + 1} {texts[i]}", min(room, _LABEL_LENGTH))
        width = len(label) * _CHARACTER
        start = x - 9 - width if is_left else x + 9
        for nudge in _NUDGES:
            bottom = min(max(y + nudge, _LINE), SIZE - 4.0)
            box = (start, bottom - _LINE + 2, start + width, bottom + 2)
            if not any(_overlap(box, other) for other in boxes):
                break
        boxes.append(box)
        label_x = x - 9 if is_left else x + 9
        found.append(Point(i + 1, x, y, label, label_x, round(bottom, 1), is_left))
    return found


def _overlap(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def shortened(text: str, length: int) -> str:
    """Return the beginning of a text, with an ellipsis where there is more."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
