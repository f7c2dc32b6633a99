"""Connections to providers: heads of requests, and reuse after an answer."""

import gc
from typing import Any

import pytest

from app.providers.http import connection
from app.providers.http.answers import Answer
from app.providers.http.sockets import DeadlineSocket
from tests.providers.http import WIDTH, call, provider_at, within
from tests.support.upstream import Upstream

BODY = b'{"data": []}'


def connected(pieces: list[bytes]) -> connection._Connection:
    """A connection whose peer sends these pieces, one for each read, and closes."""
    ours = connection._Connection("provider.test")

    class Sock:
        def recv(self, size: int) -> bytes:
            return pieces.pop(0) if pieces else b""

        def settimeout(self, _: Any) -> None:
            pass

        def close(self) -> None:
            pass

    ours.sock = DeadlineSocket(Sock(), None)
    return ours


class Kept(list):
    """A pool that records returned connections, and whether they were open."""

    def _put_conn(self, given: connection._Connection) -> None:
        self.append(given.sock is not None)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n"


def answer_over(pieces: list[bytes], pool: "Kept") -> Answer:
    """Return the answer in these pieces, as the pool returns it."""
    ours = connected(pieces)
    answer = ours.getresponse()
    answer._connection, answer._pool = ours, pool
    return answer


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (HEAD + b"\r\n" + BODY, True),
        (HEAD + b"Connection: Close\r\n\r\n" + BODY, False),
        (HEAD + b"\r\n" + BODY + b"HTTP/1.1 200 OK\r\n", False),  # an answer to no request
    ],
)
def test_connection_is_kept_after_exactly_one_answer(data, kept):
    pool = Kept()
    with answer_over([data], pool) as answer:
        assert answer.read(100) == BODY
    assert pool == [kept]


def test_connection_is_closed_after_an_incomplete_answer():
    pool = Kept()
    answer = answer_over([HEAD + b"\r\n" + BODY[:5], BODY[5:-1]], pool)
    with pytest.raises(ConnectionError), answer:
        answer.read(100)
    assert pool == [False]


def test_connection_is_closed_after_a_too_long_body():
    pool = Kept()
    with answer_over([HEAD + b"\r\n" + BODY], pool) as answer:
        assert answer.read(len(BODY) - 1) is None
    with answer_over([HEAD + b"\r\n" + BODY[:5], BODY[5:]], pool) as answer:
        assert answer.read(4) is None  # without the rest of it
    assert pool[1] is False


def test_exchange_makes_no_reference_cycles():
    with Upstream(WIDTH) as upstream:
        provider = provider_at(upstream)
        provider.embed(call(), within())
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                provider.embed(call(), within())
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            assert not [found for found in gc.garbage if isinstance(found, Answer)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()


@pytest.mark.parametrize(
    ("name", "value"),
    [("X", "a\r\nY: b"), ("X", "a\nb"), ("X", "a\x00"), ("X\r\nY", "a"), ("", "a"), ("X:", "a")],
)
def test_header_with_a_line_break_is_not_sent(name, value):
    with pytest.raises(ValueError, match="character"):
        connection._head("POST", "/v1/embeddings", {"Host": "provider.test", name: value})


@pytest.mark.parametrize("url", ["/a b", "/a\r\nb", "/é", ""])
def test_path_with_a_line_break_is_not_sent(url):
    with pytest.raises(ValueError, match="character"):
        connection._head("POST", url, {"Host": "provider.test"})


def test_headers_of_the_settings_are_sent_as_latin_1():
    assert connection._head("POST", "/", {"X-Team": "Größe"}).endswith(
        b"X-Team: Gr\xf6\xdfe\r\n\r\n"
    )
