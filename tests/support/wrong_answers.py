"""Wrong and unusual answers of a provider: behaviours of an `Upstream`.

Each of `WRONG_VECTORS` and `BROKEN` must become a 502: its vectors, if any, are wrong. Each of
`UNUSUAL` is unusual and right: a client gets its vectors.
"""

import base64
import gzip
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from tests.support.upstream import Behaviour, Exchange, good
from tests.support.vectors import decode, encode
from tests.support.wire import chunked, head

Answer = dict[str, Any]


def instead(make: Callable[[Answer], Any]) -> Behaviour:
    """Answer with a changed body."""
    return lambda exchange: exchange.reply(200, make(exchange.answer()))


def spoiled(change: Callable[[Answer], Any]) -> Behaviour:
    """Answer with one change of the good answer."""

    def make(answer: Answer) -> Answer:
        change(answer)
        return answer

    return instead(make)


def last(change: Callable[[Answer], Any]) -> Behaviour:
    """Answer with one change in the last entry of the good answer."""
    return spoiled(lambda answer: change(answer["data"][-1]))


def each(change: Callable[[str | list], Any]) -> Behaviour:
    """Answer with every embedding replaced."""
    return spoiled(
        lambda answer: [e.update(embedding=change(e["embedding"])) for e in answer["data"]]
    )


def embedding(change: Callable[[np.ndarray], Any]) -> Behaviour:
    """Answer with the last embedding replaced; arrays have the requested encoding."""

    def spoil(entry: Answer) -> None:
        base64_asked = isinstance(entry["embedding"], str)
        value = change(decode(entry["embedding"]).copy())
        if isinstance(value, np.ndarray):
            value = encode(value) if base64_asked else value.tolist()
        entry["embedding"] = value

    return last(spoil)


def text(literal: str) -> Behaviour:
    """Answer in floats, with `literal` as the first number of the last embedding."""

    def spoil(answer: Answer) -> bytes:
        for entry in answer["data"]:
            entry["embedding"] = decode(entry["embedding"]).tolist()
        answer["data"][-1]["embedding"][0] = "HERE"
        return json.dumps(answer).replace('"HERE"', literal).encode()

    return instead(spoil)


def whole(body: bytes, content_type: str = "application/json", status: int = 200) -> Behaviour:
    """Answer with this body, correctly framed."""
    return lambda exchange: exchange.reply(status, body, Content_Type=content_type)


def wire(make: Callable[[bytes], bytes]) -> Behaviour:
    """Send what `make` returns for the good body, with its head; then close the connection."""

    def behaviour(exchange: Exchange) -> None:
        exchange.send(make(json.dumps(exchange.answer()).encode()))
        exchange.last = True

    return behaviour


def but(index: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return an array with one value changed."""

    def change(values: np.ndarray) -> np.ndarray:
        values[index] = value
        return values

    return change


def announced(body: bytes, length: int) -> bytes:
    """Answer with a wrong Content-Length."""
    return head(200, {"Content-Length": str(length)}) + body


@cache
def bomb() -> bytes:
    """Return a small file that unpacks to 256 MB, in 256 members, as it is soon made then."""
    return gzip.compress(b" " * 2**20) * 2**8


def zipped_bomb(exchange: Exchange) -> None:
    """Answer with a small body that unpacks to 256 MB."""
    exchange.reply(200, bomb(), Content_Encoding="gzip")


def zipped(exchange: Exchange) -> None:
    """Answer compressed, as a CDN does."""
    body = json.dumps(exchange.answer()).encode()
    if "gzip" in exchange.call.headers.get("accept-encoding", ""):
        exchange.reply(200, gzip.compress(body), Content_Encoding="gzip")
    else:
        exchange.reply(200, body)


WRONG_VECTORS: dict[str, Behaviour] = {
    "one embedding too few": spoiled(lambda a: a["data"].pop()),
    "one embedding too many": spoiled(lambda a: a["data"].append({**a["data"][-1], "index": 3})),
    "no embeddings": spoiled(lambda a: a["data"].clear()),
    "an index twice": last(lambda e: e.update(index=0)),
    "an index out of range": last(lambda e: e.update(index=7)),
    "a negative index": last(lambda e: e.update(index=-1)),
    "an index left out": last(lambda e: e.pop("index")),
    "an index in quotes": last(lambda e: e.update(index="2")),
    "an index that is no whole number": last(lambda e: e.update(index=1.5)),
    "an index that is true": spoiled(lambda a: a["data"][1].update(index=True)),
    "an index that is null": last(lambda e: e.update(index=None)),
    "one vector too wide": embedding(lambda v: np.append(v, v[:1])),
    "one vector too narrow": embedding(lambda v: v[:-1]),
    "all vectors too narrow": each(lambda e: encode(decode(e)[:16])),
    "an empty vector": embedding(lambda v: v[:0]),
    "NaN in the bytes": embedding(but(3, np.nan)),
    "infinity in the bytes": embedding(but(3, np.inf)),
    "a NaN literal": text("NaN"),
    "an Infinity literal": text("Infinity"),
    "a -Infinity literal": text("-Infinity"),
    "more than a double holds": text("1e999"),
    "more than a float32 holds": text("1e39"),
    "a number in quotes": text('"0.5"'),
    "true for a number": text("true"),
    "null for a number": text("null"),
    "a list for a number": text("[0.5]"),
    "all zero": embedding(np.zeros_like),
    "all negative zero": embedding(lambda v: np.full_like(v, -0.0)),
    "a null embedding": embedding(lambda v: None),
    "no embedding": last(lambda e: e.pop("embedding")),
    "an embedding that is a number": embedding(lambda v: 5),
    "an entry that is null": spoiled(lambda a: a["data"].__setitem__(-1, None)),
    "base64 of another alphabet": embedding(lambda v: "****" + encode(v)[4:]),
    "base64 with a byte too many": embedding(
        lambda v: base64.b64encode(v.tobytes() + b"x").decode()
    ),
    "base64 cut short": embedding(lambda v: encode(v)[:-8]),
    "data null": spoiled(lambda a: a.update(data=None)),
    "data an object": spoiled(lambda a: a.update(data={"0": a["data"][0]})),
    "no data": spoiled(lambda a: a.pop("data")),
    "a bare list": instead(lambda a: a["data"]),
    "a bare null": whole(b"null"),
    "an error with status 200": whole(b'{"error": {"message": "overloaded"}}'),
    "not JSON": whole(b"vectors, soon"),
    "HTML": whole(b"<html><body>Welcome</body></html>", "text/html"),
    "an empty body": whole(b""),
    "bytes that are no UTF-8": whole(b'{"data": "\xff\xfe"}'),
    "two JSON documents": instead(lambda a: json.dumps(a).encode() * 2),
    "JSON nested beyond reason": whole(b"[" * 200_000),
    "status 204": lambda exchange: exchange.send(b"HTTP/1.1 204 No Content\r\n\r\n"),
}

# Incomplete answers, the same for every encoding.
BROKEN: dict[str, Behaviour] = {
    "half an answer": wire(lambda body: announced(body[: len(body) // 2], len(body))),
    "half an answer in chunks": wire(
        lambda body: head(200, {"Transfer-Encoding": "chunked"}) + chunked(body[:200])[:-5]
    ),
    "a content-length too small": wire(lambda body: announced(body, len(body) // 2)),
    "a content-length too large": wire(lambda body: announced(body, len(body) + 10)),
    "half an answer, ended by closing": wire(lambda body: head(200, {}) + body[:200]),
    "a closed connection": wire(lambda body: b""),
    "a line that is no HTTP": wire(lambda body: b"SSH-2.0-OpenSSH_9.7\r\n"),
    "a broken gzip": lambda exchange: exchange.reply(
        200, b"\x1f\x8b\x08?", Content_Encoding="gzip"
    ),
    "a gzip bomb": zipped_bomb,
}

UNUSUAL: dict[str, Behaviour] = {
    "data in another order": spoiled(lambda a: a["data"].reverse()),
    "floats though base64 was asked": each(lambda e: decode(e).tolist()),
    "unknown fields": spoiled(lambda a: a.update(created=1, id="embd-1")),
    "nothing but data and usage": spoiled(lambda a: (a.pop("object"), a.pop("model"))),
    "no usage": spoiled(lambda a: a.pop("usage")),
    "a null usage": spoiled(lambda a: a.update(usage=None)),
    "compressed": zipped,
    "in chunks": wire(
        lambda body: head(200, {"Transfer-Encoding": "chunked"}) + chunked(body[:99], body[99:])
    ),
    "ended by closing": wire(lambda body: head(200, {}) + body),
    "another content type": lambda e: e.reply(200, e.answer(), Content_Type="text/plain"),
    "an interim answer first": lambda e: (e.send(b"HTTP/1.1 100 Continue\r\n\r\n"), good(e))[0],
    "indented": instead(lambda a: json.dumps(a, indent=4).encode()),
}
