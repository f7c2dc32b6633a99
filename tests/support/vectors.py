"""The embedding of every input in the tests, a pure function for provider and tests."""

import base64
import hashlib
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Item = str | list[int]
Vector = NDArray[np.float32]

# Half a unit in the last place of a float32: the error of JSON or renormalising.
ROUNDING = 1e-6


def vector(item: Item, width: int, salt: str = "") -> Vector:
    """The unit vector of a text or a list of tokens.

    A narrower vector is a wider one, cut and renormalised, as in matryoshka models. The text
    "[1]" and the tokens [1] have different vectors. `salt` stands for other values that change
    the vector (task, model).
    """
    name = json.dumps([salt, item]).encode()
    seed = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")
    values = np.random.default_rng(seed).standard_normal(width)
    return (values / np.linalg.norm(values)).astype("<f4")


def count_tokens(item: Item) -> int:
    """Return the tokens that the test provider bills: words, or token ids, at least one."""
    return max(1, len(item.split())) if isinstance(item, str) else len(item)


def encode(values: Vector) -> str:
    """Return a vector as base64 of its little-endian float32 bytes."""
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()


def decode(embedding: str | Sequence[float]) -> Vector:
    """Return a vector from either encoding of an answer."""
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
    return np.asarray(embedding, "<f4")


def assert_same(got: str | Sequence[float], expected: Vector) -> None:
    """Check that an embedding is the expected vector, within float32 rounding."""
    values = decode(got)
    assert values.shape == expected.shape
    np.testing.assert_allclose(values, expected, rtol=0, atol=ROUNDING)


def assert_answers(body: dict, items: Sequence[Item], width: int, salt: str = "") -> None:
    """Check that an answer has the right vector of each item, in order."""
    assert [entry["index"] for entry in body["data"]] == list(range(len(items)))
    for entry, item in zip(body["data"], items, strict=True):
        assert_same(entry["embedding"], vector(item, width, salt))
