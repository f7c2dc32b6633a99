"""Answers as httptools and `app.providers.http.answers` read them, without a socket."""

import logging
import tracemalloc
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.providers.http.answers import MAX_BYTES_WITHOUT_BODY, MAX_HEADERS
from tests.providers.fuzz_answers import AGREE, KNOWN, Read, compare, read_by_us
from tests.providers.generated_answers import generate

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
NO_LENGTH = b"HTTP/1.1 200 OK\r\n\r\n"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


def test_urllib3_agrees_or_is_less_strict():
    logging.disable(logging.WARNING)  # urllib3's, of headers
    try:
        counts, examples = compare(3000, seed=3)
    finally:
        logging.disable(logging.NOTSET)
    stricter = {kind for kind in counts if kind.startswith("refused") or kind == "not reused"}
    unknown = counts.keys() - stricter - {AGREE} - KNOWN.keys()
    assert not unknown, {kind: examples[kind] for kind in unknown}
    assert counts[AGREE] > 500  # otherwise most answers were refused and nothing was compared


def test_generated_answers_have_every_framing():
    """Otherwise the comparison would not cover a framing."""
    rng = Random(1)
    finals = [generate(rng).final for _ in range(300)]
    for mark in (b"Content-Length: ", b"Transfer-Encoding: chunked", b"HTTP/1.0", b"\r\n folded"):
        assert any(mark in final for final in finals), mark


@st.composite
def good_answers(draw: st.DrawFn) -> tuple[list[bytes], Read]:
    """A good answer in pieces, and its content."""
    status = draw(st.integers(200, 599).filter(lambda status: status not in (204, 304)))
    body = draw(st.binary(max_size=60))
    names = st.text("abcXYZ019-_!~", min_size=1, max_size=8).map("x-".__add__)
    values = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=10)
    headers = draw(st.dictionaries(names.map(str.lower), values, max_size=5))
    framing = draw(st.sampled_from(["length", "chunks", "end of the connection"]))
    content = body
    if framing == "length":
        headers["content-length"] = str(len(body))
    elif framing == "chunks":
        headers["transfer-encoding"] = "chunked"
        sizes = draw(st.lists(st.integers(1, 20), max_size=5))
        content = b""
        rest = body
        for size in [*sizes, len(body) or 1]:
            if rest:
                content += b"%x\r\n%b\r\n" % (len(rest[:size]), rest[:size])
                rest = rest[size:]
        content += b"0\r\n\r\n"
    lines = [f"HTTP/1.1 {status} Reason", *(f"{n}: {v}" for n, v in headers.items()), "", ""]
    data = INTERIM * draw(st.integers(0, 2)) + "\r\n".join(lines).encode() + content
    cuts = sorted(draw(st.lists(st.integers(1, len(data) - 1), max_size=6, unique=True)))
    pieces = [data[i:j] for i, j in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    return pieces, Read(status, headers, body, framing != "end of the connection")


@given(good_answers())
def test_good_answers_are_read_as_they_were_written(answer: tuple[list[bytes], Read]):
    pieces, expected = answer
    assert read_by_us(pieces) == expected


def read(*pieces: bytes) -> Any:
    """Return the answer read from these pieces; an error fails the test."""
    found = read_by_us(list(pieces))
    assert not isinstance(found, str), found
    return found


@pytest.mark.parametrize(
    ("answer", "reusable"),
    [
        (HEAD + b"\r\n{}", True),
        (HEAD + b"Connection: keep-alive, Close\r\n\r\n{}", False),
        (HEAD + b"Connection: x\r\nConnection: close\r\n\r\n{}", False),
        (CHUNKED + b"2\r\n{}\r\n0\r\n\r\n", True),
        (CHUNKED + b"2\r\n{}\r\n0\r\nX-Trailer: 1\r\n\r\n", True),
        (NO_LENGTH + b"{}", False),
        (INTERIM + HEAD + b"\r\n{}", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}", True),
    ],
)
def test_connection_is_reusable_where_the_end_of_the_answer_is_certain(answer, reusable):
    found = read(answer)
    assert (found.status, found.body, found.is_reusable) == (200, b"{}", reusable)


@pytest.mark.parametrize("status", [204, 304])
def test_connection_is_not_reusable_after_a_status_without_a_body(status):
    found = read(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n" % status)
    assert (found.status, found.body, found.is_reusable) == (status, b"", False)


@pytest.mark.parametrize("answer", [HEAD + b"\r\n{}", CHUNKED + b"2\r\n{}\r\n0\r\n\r\n"])
@pytest.mark.parametrize("surplus", [b"\r", b"\n", b"\r\n", b"x", HEAD, HEAD + b"\r\n[]"])
def test_surplus_bytes_are_no_part_of_the_answer_and_end_reuse(answer, surplus):
    assert read(answer + surplus) == Read(200, read(answer).headers, b"{}", False)


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"Content-Length: 2\r\n\r\n{}",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        HEAD + b"X-A: 1\r\n folded\r\n\r\n{}",
        HEAD + b"X-A : 1\r\n\r\n{}",
        HEAD + b"X-A: a\x00b\r\n\r\n{}",
        HEAD.replace(b" 2", b" +2") + b"\r\n{}",
        HEAD.replace(b"\r\n", b"\n") + b"\n{}",
        HEAD.replace(b"HTTP/1.1", b"HTTP/2.0") + b"\r\n{}",
        HEAD.replace(b"HTTP", b"ICE") + b"\r\n{}",
        HEAD.replace(b"200", b"042") + b"\r\n{}",
        HEAD.replace(b"200", b"101") + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n{}",
        b"\r\n" + HEAD + b"\r\n{}",
        CHUNKED.replace(b"chunked", b"gzip, chunked") + b"2\r\n{}\r\n0\r\n\r\n",
        CHUNKED.replace(b"chunked", b"identity") + b"{}",
        CHUNKED.replace(b"200", b"204"),
        CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
        CHUNKED + b"2\r\n{}0\r\n\r\n",
    ],
)
def test_answer_that_can_be_read_in_two_ways_is_refused(answer):
    assert isinstance(read_by_us([answer]), str)


@pytest.mark.parametrize("whole", [HEAD + b"\r\n{}", CHUNKED + b"2\r\n{}\r\n0\r\n\r\n"])
def test_answer_that_breaks_off_is_refused(whole):
    for length in range(len(whole)):
        assert read_by_us([whole[:length]] if length else []) == "the answer broke off"


def test_values_of_one_name_are_joined():
    found = read(HEAD + b"Set-Cookie: a \r\nset-cookie:\tb\r\nX-E: \xe9\r\n\r\n{}")
    assert found.headers == {"content-length": "2", "set-cookie": "a, b", "x-e": "é"}


def test_trailers_and_headers_of_interim_answers_are_dropped():
    found = read(INTERIM + CHUNKED + b"2\r\n{}\r\n0\r\nSet-Cookie: 1\r\n\r\n")
    assert found.headers == {"transfer-encoding": "chunked"}


PIECE = 1000
LONG = [b"x" * PIECE] * (2 + MAX_BYTES_WITHOUT_BODY // PIECE)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 200 ", *LONG],
        [b"HTTP/1.1 200 OK\r\n", *LONG],
        [b"HTTP/1.1 200 OK\r\nX: ", *LONG],
        [INTERIM] * (2 + MAX_BYTES_WITHOUT_BODY // len(INTERIM)),
        [CHUNKED, b"2\r\n{}\r\n", b"2;", *LONG],
        [CHUNKED, b"2\r\n{}\r\n0\r\nX: ", *LONG],
    ],
    ids=["reason", "name", "value", "interim answers", "chunk extension", "trailer"],
)
def test_bytes_without_body_are_bounded(pieces):
    assert read_by_us(pieces) == "too many bytes that are not of the body"


@pytest.mark.parametrize("number", [MAX_HEADERS - 1, MAX_HEADERS])
def test_number_of_headers_is_bounded(number):
    found = read_by_us([HEAD + b"X: 1\r\n" * number + b"\r\n{}"])
    assert isinstance(found, str) == (number == MAX_HEADERS)


def test_tiny_chunks_take_no_more_memory_than_their_bytes():
    chunks = [b"2\r\n{}\r\n" * 1000] * 200
    tracemalloc.start()
    try:
        found = read(CHUNKED, *chunks, b"0\r\n\r\n")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found.body) == 400_000
    assert peak < 4 * len(found.body)
