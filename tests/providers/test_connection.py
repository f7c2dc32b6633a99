"""The short way for usual answers (`app.providers.http.connection`) sees what http.client sees."""

import http.client
import io
import socket
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from urllib3 import HTTPHeaderDict

from app.providers.http import answers, connection
from app.providers.http.sockets import DeadlineSocket

BODY = b'{"data": []}'
NAMES = st.sampled_from(
    [
        "Content-Length",
        "content-length",
        "Transfer-Encoding",
        "Content-Encoding",
        "Connection",
        "Set-Cookie",
        "X-A",
        "x-a",
        "X_A",
        "X A",
        "",
    ]
)
VALUES = st.one_of(
    st.sampled_from(["", "x", " x ", "\tx", "close", "keep-alive, Close", "chunked", "gzip", "5"]),
    st.text(st.characters(max_codepoint=255), max_size=8),
)
GOOD = st.builds("{}: {}".format, st.sampled_from(["X-A", "Set-Cookie", "Connection"]), VALUES)
ODD = st.builds("{}{}{}".format, NAMES, st.sampled_from([":", ": ", " :", ":\t", ""]), VALUES)
LENGTH = st.sampled_from(
    [*[f"Content-Length: {n}" for n in (0, 5, 12, "+5", "5, 5", "1_2", "-1", 10**20)], "X-B: none"]
)
STATUS = st.one_of(
    st.sampled_from(["HTTP/1.1 200 OK", "HTTP/1.1 200", "HTTP/1.1 503 Slow Down: now"]),
    st.builds("HTTP/1.1 {} Any".format, st.integers(90, 1000)),
    st.sampled_from(["HTTP/1.0 200 OK", "HTTP/2 200", "http/1.1 200 OK", "HTTP/1.1  200 OK", ""]),
)
BREAKS = st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", "\r", "\r\n "])


class Given:
    """A connection of which http.client reads these bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: Any) -> io.BytesIO:
        return io.BytesIO(self._data)


def long_way(data: bytes) -> tuple[int, dict[str, str], bytes, bool]:
    """Status, headers, body, and whether the connection can be used again."""
    answer = http.client.HTTPResponse(Given(data), method="POST")
    answer.begin()
    headers = HTTPHeaderDict((name.lower(), value.strip()) for name, value in answer.msg.items())
    return (
        answer.status,
        {name: headers[name] for name in headers},
        answer.read(),
        not answer.will_close,
    )


def closing(headers: dict[str, str]) -> str:
    return headers.get("connection", "").lower()


def short_way(data: bytes) -> tuple[int, dict[str, str], bytes, bool] | None:
    """The same, or None where that is the other's."""
    answer = answers.usual_answer(data)
    if answer is None or answer.length_remaining > len(BODY):
        return None
    body = bytes(answer.read())
    return answer.status, answer.headers, body, answer._reusable


@given(STATUS, st.lists(st.one_of(GOOD, GOOD, ODD, LENGTH), max_size=5), LENGTH, BREAKS)
@example("HTTP/1.1 200 OK", ["Set-Cookie: a=1", "Set-Cookie: b=2"], "Content-Length: 12", "\r\n")
@example("HTTP/1.1 200 OK", ["Content-Length: 12"], "Content-Length: 12", "\r\n")
@example("HTTP/1.1 200 OK", ["Content-Length: 5"], "content-length: 12", "\r\n")
@example("HTTP/1.1 204 No Content", [], "Content-Length: 12", "\r\n")
@example("HTTP/1.1 200 OK", ["Transfer-Encoding: chunked"], "Content-Length: 12", "\r\n")
@example("HTTP/1.1 200 OK", ["X-A: y\rX-B: z"], "Content-Length: 12", "\r\n")
def test_both_ways_see_the_same(status, lines, length, newline):
    head = newline.join([status, *lines, length, "", ""])
    data = head.encode("latin-1") + BODY
    short = short_way(data)
    if short is not None:
        *answer, reusable = long_way(data)
        assert short[:3] == tuple(answer)
        # http.client drops what comes beyond the body, and looks at the first Connection alone.
        assert reusable or not short[3]
        assert short[3] == (answer[2] == BODY and "close" not in closing(answer[1]))


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["date: Sun, 22 Nov 2026 20:15:53 GMT", "Set-Cookie: a; Path=/", "Set-Cookie: b"],
        ["Connection: close", "X-Request-Id: 5"],
    ],
)
def test_what_providers_answer_goes_the_short_way(lines):
    """Else the test above says nothing."""
    data = "\r\n".join(["HTTP/1.1 200 OK", *lines, "Content-Length: 12", "", ""]).encode() + BODY
    assert short_way(data) == long_way(data)


@pytest.mark.parametrize("pieces", [1, 2, 3, 40])
@pytest.mark.parametrize("line", ["Content-Length: 12", "Transfer-Encoding: chunked"])
def test_an_answer_may_come_in_pieces(pieces, line):
    body = BODY if "Length" in line else b"c\r\n%b\r\n0\r\n\r\n" % BODY
    data = f"HTTP/1.1 200 OK\r\n{line}\r\n\r\n".encode() + body
    size = -(-len(data) // pieces)
    ours = connected([data[i : i + size] for i in range(0, len(data), size)])
    with ours.getresponse() as answer:
        answer._connection, answer._pool = ours, Kept()
        assert (answer.status, answer.read()) == (200, BODY)


def connected(pieces: list[bytes]) -> connection._Connection:
    """A connection whose other side sends these pieces, one for each time it is read, and ends."""
    ours = connection._Connection("provider.test")

    class Sock:
        _io_refs = 0

        def recv(self, size: int) -> bytes:
            return pieces.pop(0) if pieces else b""

        def recv_into(self, buffer: Any) -> int:
            data = self.recv(len(buffer))
            pieces[:0] = [data[len(buffer) :]] if len(data) > len(buffer) else []
            buffer[: len(data[: len(buffer)])] = data[: len(buffer)]
            return len(data[: len(buffer)])

        def settimeout(self, _: Any) -> None:
            pass

        def close(self) -> None:
            pass

        def _decref_socketios(self) -> None:
            pass

    ours.sock = DeadlineSocket(Sock(), None)
    return ours


class Kept(list):
    """A pool that remembers what came back, and whether it was open."""

    def _put_conn(self, given: connection._Connection) -> None:
        self.append(given.sock is not None)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n"


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (HEAD + b"\r\n" + BODY, True),
        (HEAD + b"Connection: Close\r\n\r\n" + BODY, False),
        (HEAD + b"\r\n" + BODY + b"HTTP/1.1 200 OK\r\n", False),  # an answer to nothing
    ],
)
def test_a_connection_is_kept_where_its_answer_is_all_that_came(data, kept):
    ours, pool = connected([data]), Kept()
    with ours.getresponse() as answer:
        answer._connection, answer._pool = ours, pool
        assert answer.read() == BODY
    assert pool == [kept]


def test_half_an_answer_is_none():
    ours, pool = connected([HEAD + b"\r\n" + BODY[:5], BODY[5:-1]]), Kept()
    answer = ours.getresponse()
    answer._connection, answer._pool = ours, pool
    with pytest.raises(ConnectionError), answer:
        answer.read()
    assert pool == [False]


@pytest.mark.parametrize(
    ("name", "value"),
    [("X", "a\r\nY: b"), ("X", "a\nb"), ("X", "a\x00"), ("X\r\nY", "a"), ("", "a"), ("X:", "a")],
)
def test_a_header_that_would_be_read_as_two_is_not_sent(name, value):
    with pytest.raises(ValueError, match="character"):
        connection._head("POST", "/v1/embeddings", {"Host": "provider.test", name: value})


@pytest.mark.parametrize("url", ["/a b", "/a\r\nb", "/é", ""])
def test_nor_is_a_path_that_would_be(url):
    with pytest.raises(ValueError, match="character"):
        connection._head("POST", url, {"Host": "provider.test"})


def test_text_of_the_settings_is_sent_as_latin_1():
    assert connection._head("POST", "/", {"X-Team": "Größe"}).endswith(
        b"X-Team: Gr\xf6\xdfe\r\n\r\n"
    )


def test_bytes_given_back_come_first():
    one, other = socket.socketpair()
    with one, other:
        other.sendall(b"later")
        ours = DeadlineSocket(one, None)
        ours.unread(b"first")
        with ours.makefile() as file:
            assert file.read(10) == b"firstlater"
