"""Bars over time as SVG that needs no script: what templates/bars.html draws.

The viewBox has a unit of width for each bar, which is stretched to the width of the screen, and a
unit of height for each pixel. Texts are beside the SVG, so that they are not distorted. A series is
one path, as that takes a tenth of the bytes of an element for each part of a bar.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

HEIGHT = 180  # of the highest bar, in pixels
#: Labels below the bars: as many as the width of a phone has room for.
MAX_LABELS = 6
#: The share of its place that a bar fills; the rest is the gap to the next one.
FILL = 0.76
_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Label:
    """A text at a line (``at`` in pixels from the top), or below a bar (in percent)."""

    at: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Bars:
    """All that is drawn. ``paths`` are those of the series, ``titles`` what the bars show."""

    paths: Sequence[str]
    titles: Sequence[str]
    lines: Sequence[Label]
    labels: Sequence[Label]
    height: int = HEIGHT


def make_bars(
    times: Sequence[str],
    titles: Sequence[str],
    series: Sequence[Sequence[float]],
    shown: Callable[[float], str],
) -> Bars:
    """Return stacked bars: one for each of ``times``, which are labels.

    ``titles`` say what a bar shows; ``shown`` formats a value.
    """
    sums = [0.0] * len(times)
    top = top_of(max(map(sum, zip(*series, strict=True)), default=0))
    paths = []
    for values in series:
        path = []
        for i, value in enumerate(values):
            below, sums[i] = sums[i], sums[i] + value
            y, height = HEIGHT * (1 - below / top), value / top * HEIGHT
            if height > 0:
                x = f"{i + (1 - FILL) / 2:.2f}"
                path.append(f"M{x} {y:.2f}v{-height:.2f}h{FILL}v{height:.2f}z")
        paths.append("".join(path))
    lines = [Label(HEIGHT * (1 - share), shown(top * share)) for share in (1.0, 0.5, 0.0)]
    return Bars(paths, titles, lines, _labels(times, 100 / max(1, len(times))))


def top_of(value: float) -> float:
    """Return the round number, at least ``value``, that the highest line stands for."""
    if value <= 0:
        return 1.0
    size: float = 10.0 ** math.floor(math.log10(value))
    return next(size * step for step in _STEPS if size * step >= value * (1 - 1e-9))


def _labels(times: Sequence[str], place: float) -> list[Label]:
    every = math.ceil(len(times) / MAX_LABELS)
    found = []
    for i in range(0, len(times), max(1, every)):
        middle = (i + 0.5) * place
        # A label at an edge would be cut off there.
        anchor = "start" if middle < 4 else "end" if middle > 96 else "middle"
        at = {"start": 0.0, "end": 100.0, "middle": middle}[anchor]
        found.append(Label(round(at, 3), times[i], anchor))
    return found
