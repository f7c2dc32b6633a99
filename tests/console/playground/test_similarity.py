"""Cosines, pairs and the map, against numpy's own functions and by property."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.console.playground.similarity import (
    agreement,
    cosines,
    nearest_of_each,
    nearest_pairs,
    principal_map,
    turned_to,
    unit,
)

VALUES = st.floats(-100, 100, width=32).map(lambda x: x if abs(x) > 1e-3 else 0.0)
MATRICES = arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(1, 12)), elements=VALUES)
NOT_ZERO = MATRICES.map(lambda m: m + np.where(m.any(axis=1, keepdims=True), 0.0, 1.0))


def distances(points):
    return np.linalg.norm(points[:, None] - points[None], axis=2)


@given(NOT_ZERO)
def test_cosines_are_those_of_the_definition(matrix):
    found = cosines(matrix)
    for i, a in enumerate(matrix):
        for j, b in enumerate(matrix):
            expected = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            assert found[i, j] == pytest.approx(expected, abs=1e-9)
    assert (found == found.T).all()
    assert (np.diag(found) == 1).all()
    assert np.abs(found).max() <= 1


@given(NOT_ZERO)
def test_nearest_pairs_are_the_highest_cosines(matrix):
    similar = cosines(matrix)
    pairs = nearest_pairs(similar, 5)
    every = sorted((similar[i, j] for j in range(len(matrix)) for i in range(j)), reverse=True)
    assert [c for _, _, c in pairs] == every[:5]
    assert all(i < j and similar[i, j] == c for i, j, c in pairs)
    assert len({(i, j) for i, j, _ in pairs}) == len(pairs)


@given(NOT_ZERO)
def test_nearest_of_each_is_another_one_with_the_highest_cosine(matrix):
    similar = cosines(matrix)
    nearest = nearest_of_each(similar)
    assert len(nearest) == (len(matrix) if len(matrix) > 1 else 0)
    for i, j in enumerate(nearest):
        assert i != j
        assert similar[i, j] == max(similar[i, k] for k in range(len(matrix)) if k != i)


@given(NOT_ZERO)
def test_map_is_the_principal_components_of_the_singular_values(matrix):
    points, share = principal_map(matrix)
    centred = unit(matrix) - unit(matrix).mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    kept = min(2, len(singular))
    expected = (left[:, :kept] * singular[:kept]) @ (left[:, :kept] * singular[:kept]).T
    variances = singular**2
    if variances.sum() < 1e-6:
        assert np.abs(points).max() < 1e-3
        return
    assert share == pytest.approx(variances[:2].sum() / variances.sum(), abs=1e-6)
    assert points.shape == (len(matrix), 2)
    # Where the second and the third variance are equal, which axis is the second is free.
    if len(singular) < 3 or variances[1] - variances[2] > 1e-6:
        assert points @ points.T == pytest.approx(expected, abs=1e-5)
    assert points.mean(axis=0) == pytest.approx([0, 0], abs=1e-6)


def test_map_of_points_in_a_plane_keeps_all_distances():
    angles = np.array([0.0, 0.3, 0.9, 1.4, 2.0])
    matrix = np.zeros((5, 300))
    matrix[:, 7], matrix[:, 200] = np.cos(angles), np.sin(angles)
    points, share = principal_map(matrix * 3)
    assert share == pytest.approx(1)
    assert distances(points) == pytest.approx(distances(matrix), abs=1e-7)


def test_map_is_the_same_each_time_and_of_few_texts_too():
    matrix = np.random.default_rng(1).normal(size=(200, 50))
    assert (principal_map(matrix)[0] == principal_map(matrix)[0]).all()
    assert (principal_map(matrix[:1])[0] == 0).all()
    two, share = principal_map(matrix[:2])
    assert share == pytest.approx(1)
    assert np.abs(two[:, 1]).max() < 1e-6


@given(
    arrays(np.float64, (6, 2), elements=VALUES),
    st.floats(0, 6.28),
    st.booleans(),
)
def test_turned_map_is_as_near_as_can_be_and_keeps_distances(points, angle, mirrored):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirrored:
        turn = turn @ np.diag([1, -1])
    turned = turned_to(points @ turn, points)
    assert turned == pytest.approx(points, abs=1e-6)
    other = turned_to(points, points[::-1])
    assert distances(other) == pytest.approx(distances(points), abs=1e-6)


def test_agreement_is_the_correlation_of_the_cosines_of_pairs():
    matrix = np.random.default_rng(2).normal(size=(9, 40))
    similar = cosines(matrix)
    assert agreement(similar, cosines(matrix * -7)) == pytest.approx(1)
    assert agreement(similar, -similar) == pytest.approx(-1)
    wider = cosines(np.random.default_rng(3).normal(size=(9, 90)))
    above = np.triu_indices(9, 1)
    assert agreement(similar, wider) == pytest.approx(
        np.corrcoef(similar[above], wider[above])[0, 1]
    )


def test_agreement_is_not_known_of_two_texts_or_of_equal_cosines():
    two = np.array([[1, 0.5], [0.5, 1]])
    assert agreement(two, two) is None
    assert agreement(np.ones((4, 4)), np.ones((4, 4))) is None
