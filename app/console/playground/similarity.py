"""How similar vectors are: cosines, nearest pairs, a map in two dimensions. Pure.

A matrix has a vector in each row. All results are float64.
"""

from __future__ import annotations

import numpy as np

#: Below this the spread of numbers is rounding of float32, and not a difference.
_NEGLIGIBLE = 1e-9


def unit(matrix: np.ndarray) -> np.ndarray:
    """Return the vectors scaled to length 1; one of zeros stays as it is."""
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    scaled: np.ndarray = matrix / np.where(norms > 0, norms, 1.0)
    return scaled


def cosines(matrix: np.ndarray) -> np.ndarray:
    """Return the cosine of each vector with each: symmetric, and 1 on the diagonal."""
    scaled = unit(matrix)
    products = np.clip(scaled @ scaled.T, -1.0, 1.0)
    found: np.ndarray = (products + products.T) / 2
    np.fill_diagonal(found, 1.0)
    return found


def nearest_pairs(similar: np.ndarray, count: int) -> list[tuple[int, int, float]]:
    """Return the pairs (i < j) with the highest cosines, the highest first."""
    rows, columns = np.triu_indices(len(similar), 1)
    values = similar[rows, columns]
    if len(values) > count:  # sorting all would take ten times as long
        least = np.partition(values, -count)[-count]
        candidates = np.flatnonzero(values >= least)
    else:
        candidates = np.arange(len(values))
    best = candidates[np.argsort(-values[candidates], kind="stable")[:count]]
    return [(int(rows[k]), int(columns[k]), float(values[k])) for k in best]


def nearest_of_each(similar: np.ndarray) -> list[int]:
    """Return the index of the vector that is nearest to each; of a single vector none."""
    if len(similar) < 2:
        return []
    others = similar - 3 * np.eye(len(similar))  # a cosine is at least -1: never itself
    return [int(index) for index in others.argmax(axis=1)]


def principal_map(matrix: np.ndarray) -> tuple[np.ndarray, float]:
    """Return a point in two dimensions for each vector, and their share of the variance.

    Principal component analysis of the vectors scaled to length 1, so that distances follow the
    cosines. It decomposes the products of N vectors with each other, N by N, as N is smaller than
    the width. The sign of an axis is free: the point farthest from 0 gets a positive value.
    """
    centred = unit(matrix)
    centred -= centred.mean(axis=0)
    variances, axes = np.linalg.eigh(centred @ centred.T)
    variances = variances.clip(0.0)
    total = float(variances.sum())
    points = np.zeros((len(matrix), 2))
    for column, axis in enumerate(range(len(variances) - 1, max(-1, len(variances) - 3), -1)):
        values = axes[:, axis] * np.sqrt(variances[axis])
        points[:, column] = values * (np.sign(values[np.abs(values).argmax()]) or 1.0)
    if total <= _NEGLIGIBLE:  # all vectors have one direction
        return np.zeros_like(points), 1.0
    return points, min(1.0, float(variances[-2:].sum()) / total)


def turned_to(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the points, turned and mirrored so that they are closest to the target's.

    Distances stay. Source: Schönemann 1966, the orthogonal Procrustes problem.
    """
    left, _, right = np.linalg.svd(points.T @ target)
    turned: np.ndarray = points @ left @ right
    return turned


def agreement(one: np.ndarray, other: np.ndarray) -> float | None:
    """Return the correlation of two sets of cosines of the same texts, over all pairs.

    It compares models of any widths: 1 where both find the same texts similar. None where there are
    fewer than three texts, or all cosines of a set are equal.
    """
    above = np.triu_indices(len(one), 1)
    a, b = one[above], other[above]
    if len(one) < 3 or a.std() <= _NEGLIGIBLE or b.std() <= _NEGLIGIBLE:
        return None
    return float(np.clip(np.corrcoef(a, b)[0, 1], -1.0, 1.0))
