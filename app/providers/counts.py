"""Token counts as providers report them.

They are read apart from the vectors, and leniently: an invalid count is none, and good vectors are
not lost for it. Usage is then estimated.
"""

from __future__ import annotations

import msgspec

from app.providers.refusals import UNREADABLE

#: Above this a count is a mistake: LIMITS["body_bytes"] of text are some ten million tokens.
MAX_TOKENS_OF_A_CALL = 100_000_000
_MAX_DIGITS = len(str(MAX_TOKENS_OF_A_CALL))


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
