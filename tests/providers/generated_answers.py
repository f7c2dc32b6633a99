"""Random answers of a provider: good ones, and ones with one or two errors."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from random import Random

STATUS_LINES = [
    *["HTTP/1.1 200 OK"] * 24,
    *["HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.1 503 Slow Down: now", "HTTP/1.0 200 OK"] * 3,
    *["HTTP/1.1 204 No Content", "HTTP/1.1 304 Not Modified", "HTTP/1.1 404 \xe9"] * 2,
    *["HTTP/1.1 101 Up", "HTTP/1.1 042 Low", "HTTP/1.1 1000 High", "HTTP/2.0 200", "HTTP/2 200"],
    *[
        "HTTP/0.9 200 OK",
        "http/1.1 200 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.2 200 OK",
        "ICE/1.0 200",
        "",
    ],
]
FIELDS = [
    *["Content-Type: application/json", "Date: Sun, 22 Nov 2026 20:15:53 GMT", "X-A: 1"] * 6,
    *["Set-Cookie: a=1; Path=/", "set-cookie: b=2", "X-Empty:", "X-A:\t2 \t", "X-B: \xe9\x80"] * 3,
    *["Connection: close", "Connection: keep-alive", "Connection: keep-alive, Close"] * 2,
    *["Connection: upgrade", "Upgrade: h2c", "Connection: x-close", "Proxy-Connection: close"],
    *["Content-Length: 5", "Transfer-Encoding: gzip", "Trailer: X-T"],
    *["X A: 1", "X-A : 1", "X\xe9: 1", ": 1", "no colon", " folded", "\tfolded", "X-C: a\x00b"],
    *[
        "X-C: a\rb",
        "X-C: a\nX-D: b",
        "X-C: a\x0bb",
        "X-C: \x7f",
        "X-C: a\x85b",
        "X_A: 1",
        "X-C: a\x1cb",
    ],
]
LENGTHS = [
    *["{}"] * 20,
    *["0{}", "+{}", "-{}", "{0}, {0}", "{}_0", "0x{}", "{} ", "{}.0", "", "9" * 30, "9" * 5000],
    *["{}\x0b", "{};", "\xb2"],
]
CODINGS = [
    *["chunked"] * 12,
    *["Chunked", "chunked ", "gzip, chunked", "chunked, gzip", "identity", "", "chunked, chunked"],
    *["xchunked", "chunked;q=1", "\x0bchunked", "chunked\x1c", ",chunked", '"chunked"'],
]
SIZES = [
    *["{:x}"] * 24,
    *["{:X}", "00{:x}", "{:x};a=b", '{:x};a="b;c"', "{:x} ", "{:x} ;a", " {:x}", "+{:x}", "-{:x}"],
    *["0x{:x}", "{:x}_", "1_{:x}", "", "{:x};\n", "f" * 20, "{:x}\t", "{:x};\x80", "{:x},a"],
]
SURPLUS = [
    "\r\n",
    "\n",
    "\r",
    "x",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
]
INTERIMS = ["100 Continue", "100", "102 Processing", "103 Early Hints"]
BREAKS = [*["\r\n"] * 40, "\n", "\r", "\r\r\n", "\r\n "]
ODD_BYTES = '\r\n :;,\t\0\x0b\x1c\x7f\x80\xff0123456789abcdefgG+-_"xHT/.'


@dataclass(frozen=True)
class Generated:
    """Bytes of an answer in pieces; then the connection is closed."""

    pieces: list[bytes]
    #: The same without interim answers.
    final: bytes

    @property
    def has_interim(self) -> bool:
        return b"".join(self.pieces) != self.final


def generate(rng: Random) -> Generated:
    """Return a random answer."""
    final = _mutated(_final(rng), rng)
    if rng.random() < 0.1:
        final = final[: rng.randrange(len(final) + 1)]
    if rng.random() < 0.2:
        final += rng.choice(SURPLUS)
    interims = "".join(_interim(rng) for _ in range(rng.choice([0] * 8 + [1, 2])))
    data = (interims + final).encode("latin-1")
    return Generated(_pieces(data, rng), final.encode("latin-1"))


def _final(rng: Random) -> str:
    line = rng.choice(STATUS_LINES) if rng.random() < 0.3 else STATUS_LINES[0]
    fields = [rng.choice(FIELDS) for _ in range(rng.choice([0, 1, 1, 2, 3, 5]))]
    if rng.random() < 0.01:
        fields += ["X-Many: 1"] * rng.choice([95, 100, 105])
    body = "".join(rng.choice('{"a\r\n\x00\xff') for _ in range(rng.choice([0, 1, 12, 12, 40])))
    framing = rng.choice(["length"] * 5 + ["chunks"] * 5 + ["both", "twice", "none"])
    content = body
    if framing in ("length", "both", "twice"):
        name = rng.choice(["Content-Length", "content-length"])
        for _ in range(2 if framing == "twice" else 1):
            length = rng.choice(LENGTHS).format(len(body) + rng.choice([0] * 15 + [1, -1]))
            fields.insert(rng.randint(0, len(fields)), f"{name}: {length}")
    if framing in ("chunks", "both"):
        coding = rng.choice(CODINGS)
        fields.insert(rng.randint(0, len(fields)), f"Transfer-Encoding: {coding}")
        content = _chunks(body, rng)
    newline = rng.choice(BREAKS) if rng.random() < 0.1 else "\r\n"
    return newline.join([line, *fields, "", ""]) + content


def _chunks(body: str, rng: Random) -> str:
    """Return the body in chunks, some with unusual size, extension, trailer or line end."""
    chunks, rest = [], body
    while rest:
        size = rng.randint(1, len(rest))
        chunks.append(rest[:size])
        rest = rest[size:]
    odd = rng.random() < 0.3
    text = ""
    for chunk in [*chunks, ""]:
        size_line = (rng.choice(SIZES) if odd else SIZES[0]).format(len(chunk))
        text += size_line + (rng.choice(BREAKS) if odd else "\r\n") + chunk
        text += "\r\n" if chunk else ""
    if rng.random() < 0.15:
        text += rng.choice(["X-T: 1", "Content-Length: 3", *FIELDS]) + "\r\n"
    return text + rng.choice(["\r\n"] * 20 + ["", "\n"])


def _interim(rng: Random) -> str:
    fields = rng.choice(["", "Link: </a>\r\n", "Content-Length: 5\r\n", "Connection: close\r\n"])
    return f"HTTP/1.1 {rng.choice(INTERIMS)}\r\n{fields}\r\n"


def _mutated(text: str, rng: Random) -> str:
    """Return the text; in a quarter of cases one or two characters are changed."""
    for _ in range(rng.choice([0, 0, 0, 0, 0, 0, 1, 2])):
        at = rng.randrange(len(text) + 1)
        added = rng.choice([rng.choice(ODD_BYTES), ""])
        text = text[:at] + added + text[at + rng.choice([0, 1]) :]
    return text


def _pieces(data: bytes, rng: Random) -> list[bytes]:
    if rng.random() < 0.05:
        return [data[i : i + 1] for i in range(len(data))]
    cuts = sorted(rng.randint(0, len(data)) for _ in range(rng.choice([0, 0, 1, 2, 4])))
    cuts = [0, *cuts, len(data)]
    pieces = [data[start:end] for start, end in pairwise(cuts)]
    return [piece for piece in pieces if piece]
