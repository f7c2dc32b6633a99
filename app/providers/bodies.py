"""Bodies of requests and answers, and token counts: written, read and checked, for all kinds.

Counts are read apart from the vectors, and leniently: an invalid count is none, and good vectors
are not lost for it. Usage is then estimated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import pybase64

from app import vectors
from app.domain import Call, Vectors
from app.errors import BrokenContract, Rejected
from app.providers.refusals import UNREADABLE
from app.tokens.counting import estimate, share, weigh_all

_T = TypeVar("_T")
_floats: msgspec.json.Decoder[Sequence[float]] = msgspec.json.Decoder(list[float])
_base64 = msgspec.json.Decoder(bytes)
_QUOTE = ord('"')
_encode = msgspec.json.Encoder().encode
#: Above this a count is a mistake: LIMITS["body_bytes"] of text are some ten million tokens.
MAX_TOKENS_OF_A_CALL = 100_000_000
_MAX_DIGITS = len(str(MAX_TOKENS_OF_A_CALL))


def guard(
    rows: Sequence[bytes], call: Call, total: int | None, each: Sequence[int] | None = None
) -> Vectors:
    """Return N good vectors of the right width for N items. Raises `BrokenContract` otherwise.

    ``total`` is the provider's token count, which is divided among the items unless it gave
    ``each``; None: it gave none, so that tokens are estimated.
    """
    if len(rows) != len(call.items):
        raise BrokenContract(f"answered {len(rows)} vectors for {len(call.items)} inputs")
    try:
        vectors.check(rows, call.width)
    except vectors.BadVector as error:
        raise BrokenContract(f"answered {error}") from error
    if each is not None and len(each) == len(rows) and sum(each) <= MAX_TOKENS_OF_A_CALL:
        return Vectors(rows, each)
    if total is None:
        return Vectors(rows, [estimate(item) for item in call.items], estimated=True)
    return Vectors(rows, share(total, weigh_all(call.items)))


def encode(body: Mapping[str, Any]) -> bytes:
    """Return the body of a request as JSON.

    Raises `Rejected` for a text or a passed-on field that JSON cannot hold.
    """
    try:
        return _encode(body)
    except (ValueError, TypeError, RecursionError) as error:  # a lone surrogate, 4,300 digits …
        raise Rejected("The request is invalid: it cannot be written as JSON.") from error


def only_text(call: Call) -> None:
    """Raise `Rejected` for token ids, as the provider takes only text."""
    if not isinstance(call.items[0], str):
        raise Rejected(
            "'$.input' is invalid. This model takes only text: send the text itself instead of "
            "token ids.",
            param="input",
        )


def read(
    decoder: msgspec.json.Decoder[_T], body: bytes | memoryview | msgspec.Raw, what: str
) -> _T:
    """Return a provider's JSON, decoded. Raises `BrokenContract`, which says it is not ``what``."""
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        raise BrokenContract(f"answered something that is not {what}") from error


def is_base64(raw: msgspec.Raw) -> bool:
    """Return whether an embedding is written as a string."""
    return bytes(memoryview(raw)[:1]) == b'"'


def row_of(raw: msgspec.Raw) -> bytes:
    """Return the row of one embedding of an answer: JSON floats, or base64 of float32s.

    It decodes one at a time: the Python floats of all rows take ten times the memory of the answer.
    Raises `BrokenContract`.
    """
    text = memoryview(raw)
    if text and text[0] == _QUOTE:
        try:
            return pybase64.b64decode(text[1:-1], validate=True)  # at six times msgspec's speed
        except ValueError:  # broken, or "/" is written "\/" as JSON may
            return read(_base64, raw, "an embedding in base64")
    try:
        return vectors.from_floats(read(_floats, raw, "an embedding of numbers"))
    except vectors.BadVector as error:
        raise BrokenContract(f"answered {error}") from error


def in_order(rows: Sequence[tuple[int, Any]], count: int) -> list[Any]:
    """Return the rows of (index, row) pairs by index.

    Raises `BrokenContract` unless each index from 0 to ``count`` - 1 is there once.
    """
    if len(rows) != count:
        raise BrokenContract(f"answered {len(rows)} vectors for {count} inputs")
    ordered: list[Any] = [None] * count
    for index, row in rows:
        if not 0 <= index < count or ordered[index] is not None:
            raise BrokenContract(f"answered index {index} twice or out of range")
        ordered[index] = row
    return ordered


def count_of(value: object) -> int | None:
    """Return a number of JSON as a count, 5.0 as 5; None where it cannot be one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return round(value) if 0 <= value <= MAX_TOKENS_OF_A_CALL else None


def count_in(found: msgspec.Raw, *paths: str) -> int | None:
    """Return the first count among these members of an object ("a.b": b in a), or None.

    Without paths, ``found`` is the count itself.
    """
    try:
        whole = msgspec.json.decode(found)
    except UNREADABLE:
        return None
    for path in paths or ("",):
        value = whole
        for name in filter(None, path.split(".")):
            value = value.get(name) if isinstance(value, dict) else None
        count = count_of(value)
        if count is not None:
            return count
    return None


def count_in_header(text: str) -> int | None:
    """Return the count in the value of a header, or None."""
    if len(text) <= _MAX_DIGITS and text.isascii() and text.isdigit():
        return count_of(int(text))
    return None
