"""The body of a request as JSON: what may be said in it, and how what is not JSON is refused."""

from __future__ import annotations

import json
from typing import Any

from app.errors import BadRequest, shown

MAX_PASSED_DEPTH = 32  # lists and objects in each other, in a field that is passed on


def parse_json(body: bytes) -> dict[str, Any]:
    """A request body → its JSON object, or `BadRequest`.

    Python's own parser, since it alone sees duplicate keys; it is fast enough on the long strings
    and short integers that embeddings are asked for.
    """
    try:
        payload = _decoder.decode(body.decode())
    except (ValueError, RecursionError) as error:
        raise BadRequest(
            f"We could not parse the JSON body of your request: {_reason(error)}."
        ) from error
    if not isinstance(payload, dict):
        raise BadRequest(
            "We could not parse the JSON body of your request: an object was expected, "
            f"but got {kind_of(payload)} instead."
        )
    return payload


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise BadRequest(f"Duplicate parameter: '{shown(name)}'.", param=name)
        found[name] = value
    return found


def check_passed_on(name: str, value: Any) -> None:
    """Refuse a value that cannot be sent on: half a surrogate pair, 1e999 (infinity), deep nesting.

    The parser reads deeper than a provider's request can be written, from deeper in the stack.
    """
    if _is_deeper(value, MAX_PASSED_DEPTH):
        raise BadRequest(
            f"Invalid value for '{shown(name)}': it is nested too deeply. At most "
            f"{MAX_PASSED_DEPTH} levels are passed on.",
            param=name,
        )
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        raise BadRequest(
            f"Invalid value for '{shown(name)}': it cannot be passed on.", param=name
        ) from error


def _is_deeper(value: Any, levels: int) -> bool:
    layer = [value]
    for _ in range(levels + 1):
        nested = [one for one in layer if isinstance(one, list | dict)]
        if not nested:
            return False
        layer = [
            below for one in nested for below in (one.values() if isinstance(one, dict) else one)
        ]
    return True


def _reason(error: Exception) -> str:
    match error:
        case RecursionError():
            return "it is nested too deeply"
        case UnicodeDecodeError():
            return "it is not UTF-8"
        case json.JSONDecodeError() | _NoJson():
            return str(error)
        case _:  # Python's limit on the digits of an integer
            return "it has a number with too many digits"


class _NoJson(ValueError):
    """A literal that Python reads and JSON does not have."""


def _no_constant(name: str) -> None:
    raise _NoJson(f"{name} is not JSON")


def kind_of(value: object) -> str:
    """The type of a JSON value, in the words of an error."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
