"""Answers leave in few writes, within the time that a client has to read them."""

from types import SimpleNamespace

import pytest
from gunicorn.config import Config

from app.server.response_writer import BufferedHeadResponse
from tests.server.talk import Talk


class Recorder:
    """A socket that records each write, of which it takes so many bytes."""

    def __init__(self, takes: int = 2**20) -> None:
        self.writes: list[bytes] = []
        self.takes = takes

    def send(self, data: bytes) -> int:
        self.writes.append(bytes(data[: self.takes]))
        return len(self.writes[-1])


def answering(
    method: str, headers: list[tuple[str, str]], version: str = "1.1"
) -> tuple[BufferedHeadResponse, Recorder]:
    with Talk(f"{method} / HTTP/{version}\r\nHost: x\r\n\r\n".encode()) as talk:
        sock = Recorder()
        answer = BufferedHeadResponse(talk.parser.mesg, sock, Config())
    answer.start_response("200 OK", headers)
    return answer, sock


def test_head_and_first_bytes_of_the_body_are_one_write():
    answer, sock = answering("GET", [("Content-Length", "6")])
    for piece in (b"abc", b"def"):
        answer.write(piece)
    answer.close()
    assert len(sock.writes) == 2
    assert sock.writes[0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert sock.writes[0].endswith(b"\r\n\r\nabc")
    assert sock.writes[1] == b"def"
    assert answer.sock is sock


def test_head_and_first_chunk_are_one_write():
    answer, sock = answering("GET", [])
    answer.write(b"abc")
    answer.close()
    assert sock.writes[0].endswith(b"\r\n\r\n3\r\nabc\r\n")
    assert sock.writes[1:] == [b"0\r\n\r\n"]


def test_socket_that_takes_a_part_gets_the_rest():
    answer, _ = answering("GET", [("Content-Length", "200000")])
    answer.sock = sock = Recorder(takes=30000)
    body = bytes(range(250)) * 800
    answer.write(body)
    answer.close()
    assert b"".join(sock.writes).partition(b"\r\n\r\n")[2] == body


@pytest.mark.parametrize(("asked", "answered"), [("1.0", "1.0"), ("1.1", "1.1"), ("1.2", "1.1")])
def test_answer_has_no_later_version_than_the_server(asked: str, answered: str):
    """A server must not send a version to which it does not conform (RFC 9110, 6.2)."""
    answer, sock = answering("GET", [("Content-Length", "0")], asked)
    answer.close()
    assert b"".join(sock.writes).startswith(f"HTTP/{answered} 200 OK\r\n".encode())


def test_head_without_body_is_written():
    answer, sock = answering("HEAD", [("Content-Length", "6")])
    answer.write(b"")
    answer.close()
    assert b"".join(sock.writes).endswith(b"Content-Length: 6\r\n\r\n")


def test_missing_body_does_not_keep_the_socket():
    answer, sock = answering("GET", [("Content-Length", "6")])
    with pytest.raises(TypeError):
        answer.write("text")  # type: ignore[arg-type]
    assert answer.sock is sock


class Slow(Recorder):
    """A socket that records the timeout of each write; each write takes 40 s."""

    def __init__(self, clock: list[float]) -> None:
        super().__init__()
        self.clock, self.given = clock, list[float]()

    def settimeout(self, seconds: float) -> None:
        self.given.append(seconds)

    def send(self, data: bytes) -> int:
        self.clock[0] += 40
        return super().send(data)


@pytest.mark.parametrize("headers", [[("Content-Length", "9")], []], ids=["length", "chunks"])
def test_send_timeout_covers_the_whole_answer(
    headers: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
):
    clock = [1000.0]
    monkeypatch.setattr(
        "app.server.response_writer.time", SimpleNamespace(monotonic=lambda: clock[0])
    )
    monkeypatch.setattr("app.server.response_writer._now", lambda: "now")
    answer, _ = answering("GET", headers)
    answer.sock = sock = Slow(clock)
    answer.deadline = 1100.0
    for piece in (b"abc", b"def", b"ghi"):
        answer.write(piece)
    answer.close()
    assert sock.given[:3] == [100, 60, 20]
    assert set(sock.given[3:]) <= {0.001}
