"""The cosines that docs/reliability.md advises `min_cosine` by."""

from pathlib import Path

import numpy as np
import pytest

from bench.cosines import Model, bfloat16, float16, integers, rows
from tests.engines.texts import varied

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"


@pytest.fixture(scope="module")
def found():
    return rows(Model(), varied())


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("added up in float32, in another order", 0.9999, 1.0),
        ("weights in bfloat16", 0.9999, 1.0),
        ("vectors answered in float16", 0.9999, 1.0),
        ("weights in 8 bits, a scale a row", 0.999, 1.0),
        ("vectors answered in int8", 0.999, 1.0),
        ("weights in 4 bits, a scale a row", 0.98, 0.999),
        ("vectors answered as signs (binary)", 0.0, 0.98),
    ],
)
def test_the_lowest_cosine_is_where_the_page_says(found, name, low, high):
    assert f"| {name} | " in PAGE.read_text()
    for cosines in found[name].values():
        assert low < cosines.min() < high + 1e-9


@pytest.mark.parametrize(
    ("rounding", "error"), [(bfloat16, 2**-8), (float16, 2**-11), (integers(8), 1 / 127)]
)
def test_rounding_stays_within_its_precision(rounding, error):
    values = np.random.default_rng(1).uniform(-1, 1, (20, 64)).astype("<f4")
    largest = np.abs(values).max(axis=1, keepdims=True)
    assert (np.abs(rounding(values) - values) <= error * largest).all()
