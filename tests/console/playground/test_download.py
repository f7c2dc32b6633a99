"""The files hold the very vectors, and nothing that a page sends makes an error of the server."""

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.console.playground.download import MAX_VECTOR_BYTES, file_of, packed
from app.errors import BadRequest

TEXTS = st.lists(st.text(min_size=1), min_size=1, max_size=4)


def rows_of(count, width=3):
    values = np.random.default_rng(5).normal(size=(count, width)).astype("<f4")
    return [row.tobytes() for row in values]


@given(TEXTS)
def test_json_has_each_text_with_its_vector(texts):
    rows = rows_of(len(texts))
    given = json.loads(file_of("json", packed("m", "the-space", texts, rows)).data)
    assert (given["model"], given["space"]) == ("m", "the-space")
    assert [one["text"] for one in given["data"]] == texts
    assert [one["index"] for one in given["data"]] == list(range(len(texts)))
    assert [np.array(o["embedding"], "<f4").tobytes() for o in given["data"]] == rows


@given(TEXTS.filter(lambda texts: not any("\r" in text or "\0" in text for text in texts)))
def test_csv_has_a_line_for_each_text(texts):
    rows = rows_of(len(texts))
    content = file_of("csv", packed("m", "s", texts, rows)).data.decode()
    head, *lines = csv.reader(io.StringIO(content, newline=""))
    assert head == ["index", "text", "0", "1", "2"]
    assert [line[1] for line in lines] == texts
    assert [np.array(line[2:], "<f4").tobytes() for line in lines] == rows


def test_file_has_a_safe_name():
    response = file_of("csv", packed('../a"; b/é\r\nx', "s", ["t"], rows_of(1)))
    assert response.headers["Content-Disposition"] == 'attachment; filename="embeddings-a-b-x.csv"'


def test_page_does_not_keep_too_many_values():
    rows = [bytes(2**20)] * (MAX_VECTOR_BYTES // 2**20)
    assert packed("m", "s", ["t"] * len(rows), rows)
    assert packed("m", "s", ["t"] * (len(rows) + 1), [*rows, bytes(4)]) is None


@pytest.mark.parametrize(
    "value",
    ["", "[]", "{}", "null", '{"model": 1, "texts": [], "vectors": ""}']
    + [
        '{"model": "m", "texts": ["a"], "vectors": ' + vectors + "}"
        for vectors in ('"AAA"', '"????"', "3", '""')
    ],
)
def test_what_is_no_result_is_refused(value):
    with pytest.raises(BadRequest):
        file_of("json", value)


def test_other_kinds_of_file_are_refused():
    with pytest.raises(BadRequest):
        file_of("html", packed("m", "s", ["t"], rows_of(1)))
