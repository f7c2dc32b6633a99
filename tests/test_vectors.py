"""Conversions of vectors lose nothing, and invalid vectors are refused."""

import base64
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from app.vectors import BadVector, check, cut, from_floats, to_base64, to_json

float32s = st.floats(width=32, allow_nan=False, allow_infinity=False)
#: float32 values of every kind: denormals, huge ones, zeros of either sign, NaN, infinities.
anything = st.floats(width=32)
DENORMAL = 1e-45
HUGEST = float(np.finfo(np.float32).max)


def row_of(*values):
    return np.array(values, "<f4").tobytes()


def values_of(row):
    return np.frombuffer(row, "<f4")


@given(st.lists(float32s, min_size=1))
def test_base64_and_json_are_the_same_float32_values_bit_for_bit(values):
    row = row_of(*values)
    assert base64.b64decode(to_base64(row), validate=True) == row
    assert row_of(*json.loads(to_json(row))) == row


@given(st.lists(float32s, min_size=1))
def test_json_floats_round_trip(values):
    row = row_of(*values)
    assert from_floats(json.loads(to_json(row))) == row


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_float64_values_are_rounded_to_the_nearest_float32(values):
    with np.errstate(over="ignore"):
        assert from_floats(values) == np.array(values).astype("<f4").tobytes()


def test_json_is_as_short_as_the_value_allows():
    assert to_json(row_of(0.1, -1.0, 0.0, 1e-45, 3.4028235e38)) == (
        b"[0.1,-1.0,0.0,1e-45,3.4028235e+38]"
    )


def test_base64_is_little_endian_float32_on_every_machine():
    assert to_base64(row_of(1.0, -2.0)) == b"AACAPwAAAMA="


def test_on_a_big_endian_machine_bytes_are_swapped(monkeypatch):
    monkeypatch.setattr("app.vectors.sys", SimpleNamespace(byteorder="big"))
    native = np.array([1.5, -2.25], np.float32)
    assert from_floats([1.5, -2.25]) == native.byteswap().tobytes()


@pytest.mark.parametrize("values", [["x"], [None], [[1.0]], ["1.0"], [1.0, {}], [10**400]])
def test_non_numbers_raise(values):
    with pytest.raises(BadVector, match="a value that is not a float32"):
        from_floats(values)


@given(
    arrays.arrays(
        np.float32, st.tuples(st.integers(1, 130), st.integers(1, 9)), elements=anything, fill=None
    )
)
def test_check_accepts_exactly_finite_rows_that_are_not_zero(matrix):
    rows = [row.astype("<f4").tobytes() for row in matrix]
    good = bool(np.isfinite(matrix).all() and matrix.any(axis=1).all())
    assert accepts(rows, matrix.shape[1]) is good
    assert accepts(rows, None) is good


def accepts(rows, width):
    try:
        check(rows, width)
    except BadVector:
        return False
    return True


@pytest.mark.parametrize(
    "values",
    [
        [DENORMAL, 0, 0, 0],  # its square is zero in float32
        [1e-30] * 4,  # so are all of these
        [HUGEST] * 4,  # the sum of squares is infinite in float32
        [-HUGEST, 0, 0, 0],
        [0, 0, 0, -DENORMAL],
    ],
)
@pytest.mark.parametrize("beside", [0, 1, 63, 64, 200])
def test_extreme_rows_are_vectors_too(values, beside):
    rows = [row_of(1, 2, 3, 4)] * beside
    check([*rows, row_of(*values)], 4)
    check([row_of(*values), *rows], 4)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ([math.nan, 1, 1, 1], "a vector with NaN or infinity in it"),
        ([1, 1, 1, math.inf], "a vector with NaN or infinity in it"),
        ([1, -math.inf, math.inf, 1], "a vector with NaN or infinity in it"),
        ([HUGEST, math.nan, HUGEST, HUGEST], "a vector with NaN or infinity in it"),
        ([0, 0, 0, 0], "a vector of nothing but zeros"),
        ([-0.0, 0, -0.0, 0], "a vector of nothing but zeros"),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 63, 64, 129])
def test_bad_row_is_found_at_any_index(values, complaint, place):
    rows = [row_of(1, 2, 3, 4)] * 130
    rows[place] = row_of(*values)
    with pytest.raises(BadVector, match=f"^{complaint}$"):
        check(rows, 4)


@pytest.mark.parametrize(
    ("sizes", "width", "complaint"),
    [
        ([12], 4, "a vector 3 wide instead of 4"),
        ([20], 4, "a vector 5 wide instead of 4"),
        ([16, 12], 4, "a vector 3 wide instead of 4"),
        ([16, 12], None, "a vector 3 wide instead of 4"),
        ([15], 4, "a vector 3.75 wide instead of 4"),
        ([15], None, "a vector of 15 bytes"),
        ([0], None, "a vector of 0 bytes"),
        ([0], 4, "a vector 0 wide instead of 4"),
        ([16, 16, 16, 0], None, "a vector 0 wide instead of 4"),
    ],
)
def test_wrong_or_mixed_widths_raise(sizes, width, complaint):
    with pytest.raises(BadVector, match=f"^{complaint}$"):
        check([b"\x01" * size for size in sizes], width)


def test_no_rows_are_valid():
    check([], 4)
    check([], None)


def test_error_does_not_show_values():
    secret = 0.12345
    with pytest.raises(BadVector) as caught:
        check([row_of(secret, math.nan)], 2)
    assert "12345" not in str(caught.value)


@given(st.lists(float32s, min_size=2, max_size=20), st.data())
def test_cut_keeps_the_direction_and_has_length_1(values, data):
    width = data.draw(st.integers(1, len(values)))
    head = np.array(values[:width], np.float32).astype(np.float64)
    if not head.any():
        with pytest.raises(BadVector, match="nothing but zeros"):
            cut(row_of(*values), width)
        return
    got = values_of(cut(row_of(*values), width)).astype(np.float64)
    assert got.shape == (width,)
    assert math.isclose(np.linalg.norm(got), 1, rel_tol=1e-6)
    # Scaled first: squares of the smallest values would be denormal even in float64.
    expected = head / np.abs(head).max()
    np.testing.assert_allclose(got, expected / np.linalg.norm(expected), atol=1e-6)


def test_cut_rows_of_extreme_values_are_valid():
    for values in ([DENORMAL, DENORMAL, 1], [HUGEST, HUGEST, 1]):
        row = cut(row_of(*values), 2)
        check([row], 2)
        np.testing.assert_allclose(values_of(row), [math.sqrt(0.5)] * 2, rtol=1e-6)


def test_cut_to_the_whole_width_renormalises():
    np.testing.assert_allclose(values_of(cut(row_of(3, 4), 2)), [0.6, 0.8], rtol=1e-6)
