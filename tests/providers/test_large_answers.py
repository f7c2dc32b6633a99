"""Large answers of known length, whose rest is received into one buffer."""

import gzip
import json
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.concurrency import yielding
from app.errors import ConnectionFailed, ProviderTimeout, Rejected
from app.providers.http.answers import MAX_BUFFER, Answer
from app.providers.http.sockets import PIECE
from tests.providers.http import assert_embeds, call, connections, within
from tests.support.clock import Clock
from tests.support.wire import chunked, head

TEXTS = [f"text {i}" for i in range(1500)]


class Pieces:
    """A socket of ours that receives these pieces, each by one call at most, then the end."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = [piece for piece in pieces if piece]

    def recv(self, size: int) -> bytes:
        if not self.pieces:
            return b""
        data = self.pieces[0][:size]
        self.pieces[0] = self.pieces[0][size:]
        self.pieces = self.pieces[not self.pieces[0] :]
        return data

    def recv_into(self, buffer: memoryview) -> int:
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def answer_in(*pieces: bytes) -> Answer:
    sock = Pieces(*pieces)
    answer = Answer(sock)
    answer.read_head(sock.recv(PIECE))
    return answer


def test_other_requests_go_on_while_tiny_chunks_are_parsed(monkeypatch):
    """gevent's recv does not switch while bytes are there: a million chunks take 60 ms."""
    clock, yields = Clock(100.0), []
    monkeypatch.setattr(yielding, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(yielding, "yield_control", lambda: yields.append(clock.now))

    class Slow(Pieces):
        def recv(self, size: int) -> bytes:
            clock.now += 0.0012  # that parsing the piece before took
            return super().recv(size)

    body = b"x" * 100
    sock = Slow(head(200, {"Transfer-Encoding": "chunked"}), *[b"1\r\nx\r\n"] * 100, b"0\r\n\r\n")
    answer = Answer(sock)
    answer.read_head(sock.recv(PIECE))
    assert answer.read(1000) == body
    assert len(yields) == 101 // 3  # a break in each 3 ms


def body_of(exchange):
    return json.dumps(exchange.answer()).encode()


@given(
    st.integers(0, 4 * PIECE),
    st.lists(st.integers(0, 4 * PIECE)),
    st.sampled_from([b"", b"HTTP"]),
    st.sampled_from(["keep-alive", "close"]),
)
def test_body_is_read_exactly_however_it_arrives(size, cuts, surplus, connection):
    body = (b"0123456789" * (size // 10 + 1))[:size]
    headers = {"Content-Length": str(size), "Connection": connection}
    sent = head(200, headers) + body + surplus
    answer = answer_in(*(sent[a:b] for a, b in pairwise([0, *sorted(cuts), len(sent)])))
    assert answer.read(5 * PIECE) == body
    # A surplus was read, or is still there: then the connection is closed when it is used next.
    has_read_surplus = len(b"".join(answer._sock.pieces)) < len(surplus)
    assert answer._is_reusable == (connection == "keep-alive" and not has_read_surplus)


@pytest.mark.parametrize("status", [201, 400, 429])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_body_of_another_status_is_bytes(status, framing):
    """Adapters search error bodies, which a memoryview does not offer."""
    body = b"x" * 4 * PIECE
    if framing == "length":
        answer = answer_in(head(status, {"Content-Length": str(len(body))}), body)
    else:
        answer = answer_in(head(status, {"Transfer-Encoding": "chunked"}), chunked(body))
    assert answer.read(5 * PIECE) == body
    assert isinstance(answer.read(5 * PIECE), bytes)


@pytest.mark.parametrize("length", [8 * PIECE, MAX_BUFFER, MAX_BUFFER + 1, 2**40])
def test_body_over_the_limit_is_not_read_to_its_end(length):
    answer = answer_in(head(200, {"Content-Length": str(length)}), *[b"x" * PIECE] * 6)
    assert answer.read(5 * PIECE - 1) is None
    assert not answer._is_reusable


def test_large_answers_are_read_on_one_connection(upstream, provider):
    for _ in range(3):
        assert_embeds(provider, *TEXTS)
    assert len(set(connections(upstream))) == 1


def test_large_answers_in_chunks_are_read_on_one_connection(upstream, provider):
    def in_chunks(exchange):
        exchange.send(head(200, {"Transfer-Encoding": "chunked"}) + chunked(body_of(exchange)))

    upstream.always(in_chunks)
    assert_embeds(provider, *TEXTS)
    assert_embeds(provider, *TEXTS)
    assert len(set(connections(upstream))) == 1


def test_large_compressed_answer_is_read(upstream, provider):
    def zipped(exchange):
        exchange.reply(200, gzip.compress(body_of(exchange), 0), Content_Encoding="gzip")

    upstream.always(zipped)
    assert_embeds(provider, *TEXTS)
    assert_embeds(provider, *TEXTS)
    assert len(set(connections(upstream))) == 1


def test_large_answer_that_breaks_off_is_a_failed_connection(upstream, provider):
    def break_off(exchange):
        body = body_of(exchange)
        exchange.send(head(200, {"Content-Length": str(len(body))}) + body[:-1])
        exchange.last = True

    upstream.script(break_off)
    with pytest.raises(ConnectionFailed):
        provider.embed(call(*TEXTS), within())
    assert_embeds(provider, *TEXTS)


def test_large_answer_that_stalls_is_cut_at_the_deadline(upstream, provider):
    def stall(exchange):
        body = body_of(exchange)
        exchange.send(head(200, {"Content-Length": str(len(body))}) + body[: 2 * PIECE])
        exchange.drip(body[2 * PIECE :])
        exchange.last = True

    upstream.script(stall)
    with pytest.raises(ProviderTimeout):
        provider.embed(call(*TEXTS), within(0.3))
    assert_embeds(provider, *TEXTS)


def test_bytes_after_a_large_answer_are_not_the_next_answer(upstream, provider):
    def with_surplus(exchange):
        body = body_of(exchange)
        more = head(200, {"Content-Length": "2"}) + b"{}"
        exchange.send(head(200, {"Content-Length": str(len(body))}) + body + more)

    upstream.script(with_surplus)
    assert_embeds(provider, *TEXTS)
    assert_embeds(provider, "next")
    first, second = connections(upstream)
    assert first != second


def test_large_refusal_is_cleaned(upstream, provider):
    error = {"error": {"message": f"Bad. {upstream.api_key} {'x' * 4 * PIECE}"}}
    upstream.script(lambda exchange: exchange.reply(400, error))
    with pytest.raises(Rejected) as caught:
        provider.embed(call(*TEXTS), within())
    assert caught.value.message.startswith("Bad. [redacted]")
