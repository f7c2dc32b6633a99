"""What the page shows of embedded texts: numbers, drawings and tables of each side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.concurrency.yielding import yield_control
from app.config import DEFAULT_MIN_COSINE, Settings
from app.console.playground.download import packed
from app.console.playground.embedding import Embedded
from app.console.playground.figures import (
    MAX_HEAT_TEXTS,
    MAX_MAP_TEXTS,
    HeatMap,
    Point,
    heat_map,
    scatter,
    shortened,
)
from app.console.playground.similarity import (
    agreement,
    cosines,
    nearest_of_each,
    nearest_pairs,
    principal_map,
    turned_to,
)
from app.dispatch.drift.reference import Cosines, compare, matrix_of
from app.domain import Outcome
from app.limits.pricing import NANODOLLARS, Prices

MAX_PAIRS = 10
#: Texts of the table (the map takes its texts from there), and characters of each there.
MAX_ROWS = MAX_MAP_TEXTS
MAX_TEXT_SHOWN = 160
MAX_PAIR_TEXT_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts by their numbers, from 1, and their cosine."""

    one: int
    other: int
    cosine: float


@dataclass(frozen=True, slots=True)
class Side:
    """The vectors of one model or deployment, and what is to be seen of them."""

    name: str  # "A" or "B"
    embedded: Embedded
    outcome: Outcome
    space: str
    width: int
    cost: float | None  # dollars; None: no price is set
    similar: np.ndarray  # the cosines
    nearest: list[int]  # index of the text that is nearest to each
    pairs: list[Pair]
    heat: HeatMap | None  # of two texts or more
    map: np.ndarray  # a point for each text, before it is drawn
    points: list[Point]
    variance: float  # share of it that the map shows
    download: str | None  # for the form that makes a file of it; None: too many vectors


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides: how far they find the same."""

    cosines: Cosines | None  # of each text's two vectors; None: they are not equally wide
    agreement: float | None  # correlation of the cosines of pairs
    is_one_space: bool
    min_cosine: float  # a lower one shows that two deployments do not serve one space


@dataclass(frozen=True, slots=True)
class Row:
    """A text of the table; the nearest text of each side, with its cosine."""

    number: int
    text: str
    tokens: list[int]  # by side
    nearest: list[tuple[int, float]]
    cosine: float | None  # of its two vectors


@dataclass(frozen=True, slots=True)
class Results:
    """All that is shown; ``failures`` are the sides without vectors."""

    texts: Sequence[str]
    sides: list[Side]
    failures: list[Embedded]
    comparison: Comparison | None
    rows: list[Row]

    @property
    def status(self) -> int:
        """The HTTP status: that of the first failure where no side has vectors."""
        error = self.failures[0].error if self.failures and not self.sides else None
        return 200 if error is None else error.status

    def shown(self, number: int) -> str:
        """Return the beginning of a text by its number."""
        return shortened(self.texts[number - 1], MAX_PAIR_TEXT_SHOWN)


def results_of(settings: Settings, texts: Sequence[str], embedded: Sequence[Embedded]) -> Results:
    """Return what is shown of one or two sides."""
    prices = Prices(settings.models)
    sides: list[Side] = []
    for name, one in zip("AB", embedded, strict=False):
        if one.outcome is not None:
            sides.append(_side(settings, prices, name, texts, one, one.outcome, sides))
            yield_control()
    failures = [one for one in embedded if one.outcome is None]
    comparison = _comparison(settings, texts, *sides) if len(sides) == 2 else None
    rows = _rows(texts, sides, comparison)
    return Results(texts, sides, failures, comparison, rows)


def _side(
    settings: Settings,
    prices: Prices,
    name: str,
    texts: Sequence[str],
    embedded: Embedded,
    outcome: Outcome,
    before: Sequence[Side],
) -> Side:
    matrix = matrix_of(outcome.vectors.rows)
    similar = cosines(matrix)
    yield_control()  # each of these steps may take some milliseconds
    points, variance = principal_map(matrix[:MAX_MAP_TEXTS])
    yield_control()
    if before:  # as near as can be to the first map: axes are free to turn
        points = turned_to(points, before[0].map)
    model, exchange = embedded.choice.model, embedded.exchange
    deployments = settings.models[model].deployments
    has_price = any(d.price_per_million_tokens for d in deployments)
    cost = prices.cost_of(model, exchange.purchases) / NANODOLLARS if has_price else None
    heat = heat_map(similar[:MAX_HEAT_TEXTS, :MAX_HEAT_TEXTS]) if len(texts) > 1 else None
    yield_control()
    pairs = [Pair(i + 1, j + 1, c) for i, j, c in nearest_pairs(similar, MAX_PAIRS)]
    return Side(
        name,
        embedded,
        outcome,
        exchange.space,
        matrix.shape[1],
        cost,
        similar,
        nearest_of_each(similar),
        pairs,
        heat,
        points,
        scatter(points, texts[:MAX_MAP_TEXTS]),
        variance,
        packed(embedded.choice.title, exchange.space, texts, outcome.vectors.rows),
    )


def _comparison(settings: Settings, texts: Sequence[str], one: Side, other: Side) -> Comparison:
    found = None
    if one.width == other.width:
        found = compare(one.outcome.vectors.rows, other.outcome.vectors.rows, texts)
    check = settings.check
    return Comparison(
        found,
        agreement(one.similar, other.similar),
        one.space == other.space,
        DEFAULT_MIN_COSINE if check is None else check.min_cosine,
    )


def _rows(texts: Sequence[str], sides: Sequence[Side], comparison: Comparison | None) -> list[Row]:
    between = comparison.cosines.values if comparison and comparison.cosines else None
    return [
        Row(
            i + 1,
            shortened(text, MAX_TEXT_SHOWN),
            [side.outcome.vectors.tokens[i] for side in sides],
            [
                (side.nearest[i] + 1, float(side.similar[i, side.nearest[i]]))
                for side in sides
                if side.nearest
            ],
            between[i] if between is not None else None,
        )
        for i, text in enumerate(texts[:MAX_ROWS])
        if sides
    ]
