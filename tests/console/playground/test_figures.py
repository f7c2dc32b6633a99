"""The geometry of the drawings: each cell once, points within the drawing, labels apart."""

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.console.playground.figures import (
    LEVELS,
    MAX_HEAT_TEXTS,
    SIZE,
    heat_map,
    scatter,
)
from app.console.playground.similarity import cosines

PART = re.compile(r"M(\d+) (\d+)h(\d+)v1h-(\d+)z")


def similar_of(count, seed=1):
    return cosines(np.random.default_rng(seed).normal(size=(count, 16)))


@given(st.integers(2, 30), st.integers(0, 99))
def test_heat_map_has_each_cell_of_the_lower_triangle_once_in_its_colour(count, seed):
    similar = similar_of(count, seed)
    heat = heat_map(similar)
    cells = {}
    for level, path in heat.paths:
        assert 0 <= level < LEVELS
        assert "".join(match[0] for match in PART.finditer(path)) == path
        for x, y, length, back in PART.findall(path):
            assert length == back
            for column in range(int(x), int(x) + int(length)):
                assert (column, int(y)) not in cells
                cells[column, int(y)] = level
    assert set(cells) == {(i, j) for j in range(count) for i in range(j + 1)}
    assert all(cells[i, i] == LEVELS - 1 for i in range(count))
    by_cosine = sorted((similar[i, j], level) for (i, j), level in cells.items())
    assert [level for _, level in by_cosine] == sorted(level for _, level in by_cosine)


def test_heat_map_has_the_values_for_the_script_and_for_reading():
    similar = similar_of(3)
    heat = heat_map(similar)
    values = [int(value) / 1000 for value in heat.values.split()]
    assert np.allclose(values, [similar[1, 0], similar[2, 0], similar[2, 1]], atol=5e-4)
    assert [float(text) for *_, text in heat.written] == [round(v, 2) for v in similar.ravel()]
    assert heat_map(similar_of(60)).numbers == heat_map(similar_of(60)).written == []


def test_large_heat_map_stays_a_small_page():
    similar = similar_of(MAX_HEAT_TEXTS)
    heat = heat_map(similar)
    assert sum(len(path) for _, path in heat.paths) + len(heat.values) < 100_000


def test_equal_texts_have_a_heat_map_and_a_map():
    heat = heat_map(np.ones((3, 3)))
    assert heat.low == heat.high == 1
    assert {(p.x, p.y) for p in scatter(np.zeros((3, 2)), ["a"] * 3)} == {(SIZE / 2, SIZE / 2)}


@given(st.integers(1, 100), st.integers(0, 99))
def test_points_are_within_the_drawing_on_one_scale(count, seed):
    points = np.random.default_rng(seed).normal(size=(count, 2)) * [5, 0.1]
    drawn = scatter(points, [f"text {i}" for i in range(count)])
    placed = np.array([(p.x, p.y) for p in drawn])
    assert (placed >= 0).all()
    assert (placed <= SIZE).all()
    assert [p.number for p in drawn] == list(range(1, count + 1))
    if count > 1:
        scale = (SIZE - 44) / np.ptp(points, axis=0).max()
        assert np.allclose(np.ptp(placed, axis=0), np.ptp(points, axis=0) * scale, atol=0.2)


def test_labels_of_few_texts_hide_no_point_and_stay_inside():
    points = np.random.default_rng(4).normal(size=(8, 2))
    drawn = scatter(points, ["a text that is much longer than a label may be, by far"] * 8)
    boxes = []
    for p in drawn:
        width = len(p.label) * 6
        left = p.label_x - width if p.is_left else p.label_x
        assert 0 <= left <= left + width <= SIZE
        boxes.append((left, p.label_y - 9, left + width, p.label_y))
    for left, top, right, bottom in boxes:
        assert 0 <= top <= bottom <= SIZE
        assert not any(left <= p.x <= right and top <= p.y <= bottom for p in drawn)
        middle = (top + bottom) / 2
        assert sum(b[1] < middle < b[3] and b[0] < right and left < b[2] for b in boxes) == 1
