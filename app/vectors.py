"""Convert and check vectors; their canonical form is float32 little-endian bytes.

All functions are pure. A *row* is the bytes of one vector; its width is ``len(row) // 4``.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence

import numpy as np
import orjson
import pybase64

BYTES_PER_VALUE = 4
_F4 = np.dtype("<f4")
#: Rows checked at once: enough to amortise numpy's overhead, few enough for the CPU's cache.
_ROWS_PER_CHECK = 64


class BadVector(ValueError):
    """A row that cannot be an embedding; the message says why, without the values."""


def from_floats(values: Sequence[float]) -> bytes:
    """Convert float64 values to a row. Raises `BadVector` if a value does not fit a float32."""
    try:
        row = array("f", values)
    except (OverflowError, TypeError, ValueError) as error:
        raise BadVector("a value that is not a float32") from error
    if sys.byteorder == "big":
        row.byteswap()
    return row.tobytes()


def to_base64(row: bytes) -> bytes:
    """Convert a row to base64, as OpenAI sends it for ``encoding_format: base64``."""
    return pybase64.b64encode(row)


def to_json(row: bytes) -> bytes:
    """Convert a row to a JSON array, each value in the fewest digits that give the same float32."""
    values = np.frombuffer(row, _F4).astype(np.float32, copy=False)
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)


def check(rows: Sequence[bytes], width: int | None) -> None:
    """Raise `BadVector` for a wrong or mixed width, NaN, infinity, or a row of zeros.

    ``width`` None accepts any width that all rows share.
    """
    if not rows:
        return
    size = width * BYTES_PER_VALUE if width is not None else len(rows[0])
    if size == 0 or size % BYTES_PER_VALUE:
        raise BadVector(f"a vector of {size} bytes")
    for row in rows:
        if len(row) != size:
            raise BadVector(
                f"a vector {len(row) / BYTES_PER_VALUE:g} wide instead of {size // BYTES_PER_VALUE}"
            )
    for start in range(0, len(rows), _ROWS_PER_CHECK):
        _check_values(rows[start : start + _ROWS_PER_CHECK], size // BYTES_PER_VALUE)


def _check_values(rows: Sequence[bytes], width: int) -> None:
    joined = rows[0] if len(rows) == 1 else b"".join(rows)
    matrix = np.frombuffer(joined, _F4).reshape(len(rows), width)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        # The common case: a dot product takes an eighth of the time of the code below.
        if len(rows) == 1 and 0 < matrix[0] @ matrix[0] < np.inf:
            return
        squares = np.vecdot(matrix, matrix)
    # A positive finite sum of squares proves a row valid. Other rows are tested exactly: they may
    # be valid too, where the sum of squares overflows or underflows float32.
    for row in np.flatnonzero(~(np.isfinite(squares) & (squares > 0))):
        if not np.isfinite(matrix[row]).all():
            raise BadVector("a vector with NaN or infinity in it")
        if not matrix[row].any():
            raise BadVector("a vector of nothing but zeros")


def cut(row: bytes, width: int) -> bytes:
    """Return the first ``width`` values of a Matryoshka vector, scaled to length 1.

    Raises `BadVector` if those values are all zero, as they cannot be scaled.
    Source: Kusupati et al. 2022; OpenAI's embeddings guide, "Reducing embedding dimensions".
    """
    head = np.frombuffer(row, _F4, count=width).astype(np.float64)
    norm = np.sqrt(head @ head)
    if not norm:
        raise BadVector("a vector of nothing but zeros")
    return (head / norm).astype(_F4).tobytes()
