"""Compare `app.providers.http.answers` with urllib3 and http.client over generated answers.

``python -m tests.providers.fuzz_answers 100000 [SEED]`` prints each kind of difference, how often
it came and an example; `test_answers` does a few thousand. Where both accept an answer, status,
headers and body must be the same, in whatever pieces it comes, and we may use a connection again
only where http.client would and nothing is left to be read.

Found in 150,000 answers (seed 11; httptools 0.9, urllib3 2.8, Python 3.11): both accept 29,202 and
see the same, both refuse 28,180. In 564 more they see the same, and only http.client would use the
connection again: "close" in a second Connection or in Proxy-Connection, 204 and 304. We alone
refuse 91,389:

- Heads (42,900): names that are no token or have a space before the colon, control characters in
  values, folded lines, lines that end in LF or CR alone, statuses and versions with other digits
  than HTTP/1.0 and 1.1 have, 101, more than 99 headers.
- Framing (34,000): Content-Length that is not digits alone, doubled (even with one value), empty or
  beyond 64 bits; any transfer coding but chunked; both of them, in trailers too; either empty.
- Chunks (1,300): signs, spaces and underscores in sizes, bad extensions, ends other than CRLF.
- An interim answer with Connection: close, and another answer after it (8,400).
- Answers that break off in the head or before the end of the chunks (4,700), which http.client
  takes for whole.

In 665 answers we are not the stricter one; `KNOWN` has these kinds and their reasons.

Bugs put back, in the 3,000 answers of `test_answers`: surplus bytes overlooked, found by 70; any
transfer coding taken for chunked, 44; an end taken for the end of every answer, 27; trailers taken
for headers, 25; values of one name not joined, 69; "close" only as llhttp sees it, 8.
"""

from __future__ import annotations

import io
import logging
import re
import sys
from collections import Counter
from dataclasses import dataclass
from http.client import HTTPException
from random import Random
from typing import Any

from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError

from app.providers.http.answers import Answer, MalformedAnswer
from tests.providers.generated_answers import Generated, generate

AGREE = "agree"
SPACE = re.compile(rb"chunked[ \t]+\r\n", re.IGNORECASE)
#: Differences in which ours is not the stricter one, each with its reason.
KNOWN = {
    "different: body after 'chunked' and a space": "a space after a value is no part of it, which "
    "http.client does not know: it then takes the chunks themselves for the body",
    "accepted: BadStatusLine after an interim answer": "llhttp skips empty lines before an answer "
    "and knows ICE/ and RTSP/; we refuse both, but not between an interim answer and the final one",
    "accepted: BadStatusLine": "a reason of nothing but control characters that Python takes for "
    "white space; nothing reads the reason",
    "reused with HTTP/1.0": "keep-alive in a second Connection: http.client reads the first alone",
}


@dataclass(frozen=True)
class Read:
    """What a parser made of an answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_reusable: bool


class Pieces:
    """A socket of ours that receives these pieces, then the end."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = list(pieces)

    def recv(self, size: int) -> bytes:
        assert size >= 2**16
        return self._pieces.pop(0) if self._pieces else b""


def read_by_us(pieces: list[bytes]) -> Read | str:
    """What our parser makes of an answer, or why it refuses it."""
    sock: Any = Pieces(pieces)
    answer = Answer(sock)
    try:
        answer.read_head(sock.recv(2**16))
        body = answer.read(2**20)
    except (MalformedAnswer, ConnectionError) as error:
        return str(error)
    assert body is not None
    is_reusable = answer._is_reusable and not sock._pieces  # the rest would be seen as not idle
    return Read(answer.status, answer.headers, body, is_reusable)


class File(io.BytesIO):
    """Bytes for http.client; ``rest`` is what it had not read when it closed them."""

    rest: bytes | None = None

    def close(self) -> None:
        if self.rest is None:
            self.rest = self.read()
        super().close()


class Stream:
    """A socket of which http.client reads these bytes."""

    def __init__(self, data: bytes) -> None:
        self.file = File(data)

    def makefile(self, *_: Any) -> File:
        return self.file

    def settimeout(self, _: Any) -> None:
        pass

    def sendall(self, _: bytes) -> None:
        pass

    def close(self) -> None:
        pass


def read_by_urllib3(data: bytes) -> Read | str:
    """What urllib3 makes of an answer, or the name of its error."""
    connection = HTTPConnection("provider.test")
    stream: Any = Stream(data)
    connection.sock = stream
    connection.request("POST", "/", b"", {"User-Agent": "x"}, preload_content=False)
    try:
        response = connection.getresponse()
        body = response.read(decode_content=False)
    except (HTTPException, HTTPError, OSError, ValueError, OverflowError) as error:
        return type(error).__name__
    headers = {
        name.lower(): ", ".join(value.strip(" \t") for value in response.headers.getlist(name))
        for name in response.headers
    }
    stream.file.close()
    keeps = connection.sock is not None and not stream.file.rest
    return Read(response.status, headers, body, keeps)


def kind_of(generated: Generated) -> str:
    """How the two differ over an answer, in words of few kinds; ``AGREE`` where they do not."""
    ours, theirs = read_by_us(generated.pieces), read_by_urllib3(generated.final)
    whole = read_by_us([b"".join(generated.pieces)])
    if ours != whole and not (isinstance(ours, str) and isinstance(whole, str)):
        return "different: in pieces"
    if isinstance(ours, str):
        return "refused by both" if isinstance(theirs, str) else f"refused: {ours}"
    if isinstance(theirs, str):
        after = " after an interim answer" if generated.has_interim else ""
        return f"accepted: {theirs}{after}"
    for name in ("status", "headers", "body"):
        if getattr(ours, name) != getattr(theirs, name):
            after = " after 'chunked' and a space" if SPACE.search(generated.final) else ""
            return f"different: {name}{after}"
    if ours.is_reusable != theirs.is_reusable:
        version = " with HTTP/1.0" if generated.final.startswith(b"HTTP/1.0") else ""
        return f"reused{version}" if ours.is_reusable else "not reused"
    return AGREE


def compare(number: int, seed: int) -> tuple[Counter[str], dict[str, Generated]]:
    """How often each kind of difference was found, and an example of each."""
    rng = Random(seed)
    counts: Counter[str] = Counter()
    examples: dict[str, Generated] = {}
    for _ in range(number):
        generated = generate(rng)
        kind = kind_of(generated)
        counts[kind] += 1
        examples.setdefault(kind, generated)
    return counts, examples


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # urllib3's, of headers
    found, first = compare(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    for kind, count in found.most_common():
        print(f"{count:7} {kind}: {first[kind].pieces}"[:400])
