"""Bars over time as SVG that needs no script: what templates/bars.html draws.

Widths and horizontal places are percentages, heights are pixels, so that the bars fill the width of
any screen and their texts are not distorted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

HEIGHT = 180  # of the highest bar, in pixels
#: Labels below the bars: as many as the width of a phone has room for.
MAX_LABELS = 6
#: Of a bar's place, what it fills; the rest is the gap to the next.
FILL = 0.76
_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Part:
    """One colour of a bar."""

    series: int  # its place among the series
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar. ``x`` and ``width`` are percentages."""

    x: float
    width: float
    hover_x: float  # the whole place of the bar, to point at
    hover_width: float
    title: str
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True)
class Label:
    """A text at a line (``at`` in pixels from the top), or below a bar (in percent)."""

    at: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Bars:
    """All that is drawn."""

    bars: Sequence[Bar]
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
    sums = [sum(values) for values in zip(*series, strict=True)] if series else []
    top = top_of(max(sums, default=0))
    place = 100 / max(1, len(times))
    bars = []
    for i, title in enumerate(titles):
        parts, y = [], float(HEIGHT)
        for number, values in enumerate(series):
            height = values[i] / top * HEIGHT
            if height > 0:
                y -= height
                parts.append(Part(number, round(y, 2), round(height, 2)))
        x = round(i * place, 4)
        left = round(x + place * (1 - FILL) / 2, 4)
        bars.append(Bar(left, round(place * FILL, 4), x, round(place, 4), title, parts))
    lines = [Label(HEIGHT * (1 - share), shown(top * share)) for share in (1.0, 0.5, 0.0)]
    return Bars(bars, lines, _labels(times, place))


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
        # One at an edge would be cut off there.
        anchor = "start" if middle < 4 else "end" if middle > 96 else "middle"
        at = {"start": 0.0, "end": 100.0, "middle": middle}[anchor]
        found.append(Label(round(at, 3), times[i], anchor))
    return found
