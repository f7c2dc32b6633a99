"""References and cosines: pure functions, by property."""

from pathlib import Path

import numpy as np
import pytest
import wordllama
from hypothesis import given
from hypothesis import strategies as st
from wordllama import WordLlama

from app.dispatch.drift.reference import BadReference, Reference, compare, matrix_of
from app.dispatch.drift.texts import NAMES, PROBES, TEXTS, TEXTS_ID
from app.tokens.counting import estimate
from tests.dispatch.drift.fake import reference, rows

N = len(NAMES)


def matrices(width=4):
    values = st.floats(-1e3, 1e3, width=32)
    row = st.lists(values, min_size=width, max_size=width).filter(
        lambda r: any(abs(v) > 1e-3 for v in r)
    )
    return st.lists(row, min_size=N, max_size=N).map(lambda m: list(np.array(m, "<f4")))


def as_rows(matrix):
    return [row.tobytes() for row in matrix]


# The texts


def test_the_texts_are_many_and_cheap():
    assert len(set(PROBES)) == len(PROBES) == len(TEXTS)
    assert 250 < sum(map(estimate, PROBES)) < 350
    assert all(text.strip() for text in PROBES)


def test_three_deployments_cost_less_than_2000_tokens():
    tokenizer = WordLlama.load(
        cache_dir=Path(wordllama.__file__).parent, disable_download=True
    ).tokenizer
    tokenizer.no_padding()
    assert 3 * sum(len(tokenizer.encode(text).ids) for text in PROBES) < 2000


def test_the_texts_have_not_changed():
    """A change makes every recorded reference useless: it needs a line in CHANGELOG.md."""
    assert TEXTS_ID == "624dd883d8694632"


# Cosines


@given(matrices())
def test_vectors_agree_with_themselves(matrix):
    cosines = compare(as_rows(matrix), as_rows(matrix))
    assert cosines.lowest == cosines.median == pytest.approx(1, abs=1e-9)


@given(matrices(), st.floats(0.0625, 64, width=32))
def test_length_of_vectors_does_not_matter(matrix, factor):
    scaled = [(row.astype(np.float64) * factor).astype("<f4") for row in matrix]
    assert compare(as_rows(matrix), as_rows(scaled)).lowest == pytest.approx(1, abs=1e-5)


@given(matrices(), matrices())
def test_cosines_are_symmetric_and_bounded(matrix, other):
    cosines = compare(as_rows(matrix), as_rows(other))
    assert cosines == compare(as_rows(other), as_rows(matrix))
    assert all(-1 <= value <= 1 for value in cosines.values)
    assert cosines.lowest <= cosines.median


@given(matrices(), st.integers(0, N - 1))
def test_text_that_differs_is_named(matrix, at):
    other = [-row if i == at else row for i, row in enumerate(matrix)]
    cosines = compare(as_rows(matrix), as_rows(other))
    assert (cosines.text, cosines.lowest) == (NAMES[at], pytest.approx(-1))


def test_another_width_is_another_space():
    assert compare(rows(width=8), rows(width=16)).lowest == 0


# References


@given(matrices(), st.text(min_size=1, max_size=20))
def test_reference_survives_its_json(matrix, label):
    kept = Reference("s", b"".join(as_rows(matrix)), 5, label)
    assert Reference.from_dict("s", kept.as_dict()) == kept
    assert kept.rows == as_rows(matrix)
    assert (matrix_of(kept.rows) == np.array(matrix)).all()


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        {},
        {"vectors": 5},
        {"vectors": "!"},
        {"vectors": ""},
        {"vectors": "AAAA"},
        {"vectors": "AAAAAA=="},
        {"recorded_at": None},
    ],
)
def test_damaged_reference_is_refused(wrong):
    good = reference().as_dict()
    with pytest.raises(BadReference):
        Reference.from_dict("s", {**good, **wrong} if wrong else wrong)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_reference_that_cannot_be_compared_with_is_refused(value):
    vectors = b"".join([np.full(4, value, "<f4").tobytes(), *rows(width=4)[1:]])
    with pytest.raises(BadReference):
        Reference("s", vectors, 1, "a/x").checked()


def test_id_of_a_reference_changes_with_its_vectors():
    assert reference().id == reference(recorded_at=2).id
    assert reference().id != reference(salt="other").id
