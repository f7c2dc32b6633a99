"""A picture of curves over logarithmic axes, as SVG: readable on light and dark pages."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 62, 20, 46, 50  # margins
GREY = "#808891"  # has the same contrast to white and to black
LABEL_GAP = 8
TICKS = ((1, "1 ms"), (10, "10 ms"), (100, "100 ms"), (1_000, "1 s"), (10_000, "10 s"))


@dataclass(frozen=True)
class Curve:
    """A name, a colour, and points: x, and milliseconds."""

    name: str
    colour: str
    points: Sequence[tuple[float, float]]


def svg(title: str, x_title: str, curves: Sequence[Curve]) -> str:
    """Return the picture."""
    xs = sorted({x for curve in curves for x, _ in curve.points})
    most = max(y for curve in curves for _, y in curve.points)
    top = 10 ** math.ceil(math.log10(most))
    x_of = _scale(xs[0], xs[-1], LEFT + 12, WIDTH - RIGHT - 12)
    y_of = _scale(1, top, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{GREY}" role="img">',
        f"<title>{escape(title)}: {escape('; '.join(curve.name for curve in curves))}</title>",
        _text(LEFT, 22, title, 'font-size="15"'),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_title, 'text-anchor="middle"'),
    ]
    for value, name in TICKS:
        if value <= top:
            y = y_of(value)
            parts.append(
                f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{GREY}" opacity="0.3"/>'
            )
            parts.append(_text(LEFT - LABEL_GAP, y + 4, name, 'text-anchor="end"'))
    middle = 'text-anchor="middle"'
    parts += [_text(x_of(x), HEIGHT - BOTTOM + 20, f"{x:g}", middle) for x in xs]
    for curve in curves:
        parts += _curve(curve, x_of, y_of)
    return "\n".join([*parts, "</svg>", ""])


def _curve(
    curve: Curve, x_of: Callable[[float], float], y_of: Callable[[float], float]
) -> list[str]:
    places = [(x_of(x), y_of(y)) for x, y in curve.points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places]
    end, value = places[-1], curve.points[-1][1]
    shown = f"{value / 1000:.1f} s" if value >= 1000 else f"{value:.0f} ms"
    return [
        f'<g fill="{curve.colour}">',
        f'<polyline points="{line}" fill="none" stroke="{curve.colour}" stroke-width="2.5"/>',
        *dots,
        _text(end[0], end[1] - 10, f"{curve.name}: {shown}", 'text-anchor="end"'),
        "</g>",
    ]


def _text(x: float, y: float, text: str, attributes: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(text)}</text>'


def _scale(low: float, high: float, start: float, stop: float) -> Callable[[float], float]:
    """Return a function from a value to its place on a logarithmic axis."""
    span = math.log(high / low)
    return lambda value: start + (stop - start) * math.log(max(value, low) / low) / span
