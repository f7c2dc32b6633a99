"""Read a request body, and parse it as strict JSON; anything else is refused with a reason."""

from __future__ import annotations

import json
from typing import Any

from flask import request

from app.errors import BadRequest, BodyTooLarge, UnsupportedMediaType, shown

_JSON_TYPES = ("", "application/json")
_NO_CODINGS = ("", "identity")
MAX_PASSED_DEPTH = 32  # levels of lists and objects in a field that is passed on


def read_body(environ: dict[str, Any], limit: int) -> bytes:
    """Return the body of a request of at most ``limit`` bytes. Raises a `ClientError`."""
    # Compared as a text first: `mimetype` parses the header.
    if environ.get("CONTENT_TYPE") != "application/json" and request.mimetype not in _JSON_TYPES:
        refused = UnsupportedMediaType(
            f"Unsupported content type: '{shown(request.mimetype)}'. Send application/json."
        )
        # The header may hold anything, secrets too.
        refused.log_message = "unsupported content type"
        raise refused
    if environ.get("HTTP_CONTENT_ENCODING", "").lower() not in _NO_CODINGS:
        raise UnsupportedMediaType("The body must not be compressed.")
    # Not `request.data`: werkzeug truncates a body without a length instead of refusing it.
    length = _length(environ)
    if length is None and not environ.get("wsgi.input_terminated"):
        return b""
    if length is not None and length > limit:
        raise _too_large(limit)
    try:
        body: bytes = environ["wsgi.input"].read(limit + 1 if length is None else length)
    except Exception as error:  # of the server: invalid chunks, a closed connection
        raise BadRequest("The request body could not be read.") from error
    if len(body) > limit:
        raise _too_large(limit)
    if length is not None and len(body) < length:
        raise BadRequest("The request body ended early.")
    return body


def _length(environ: dict[str, Any]) -> int | None:
    """Return the length of the body in bytes; None if it is chunked or missing."""
    text: str = environ.get("CONTENT_LENGTH", "")
    if text.isascii() and text.isdigit() and "HTTP_TRANSFER_ENCODING" not in environ:
        return int(text)
    return request.content_length


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request body is larger than the {limit} bytes allowed here.")


def parse_json(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a request body. Raises `BadRequest`.

    Uses Python's json module, as orjson does not report duplicate keys. It is fast enough for the
    long strings and lists of integers in requests for embeddings.
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


def _object_with_unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise BadRequest(f"Duplicate parameter: '{shown(name)}'.", param=name)
        found[name] = value
    return found


def check_passed_on(name: str, value: Any) -> None:
    """Refuse a value that a request to a provider cannot hold.

    That is half a surrogate pair, 1e999 (infinity), or nesting deeper than `MAX_PASSED_DEPTH`: the
    request to the provider is written deeper in the call stack than this body was parsed, so it
    would reach the recursion limit first.
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


def _is_deeper(value: Any, max_depth: int) -> bool:
    level = [value]  # all values at one depth: no recursion, which deep nesting would exhaust
    for _ in range(max_depth + 1):
        nested = [each for each in level if isinstance(each, list | dict)]
        if not nested:
            return False
        level = [
            below
            for each in nested
            for below in (each.values() if isinstance(each, dict) else each)
        ]
    return True


def _reason(error: Exception) -> str:
    match error:
        case RecursionError():
            return "it is nested too deeply"
        case UnicodeDecodeError():
            return "it is not UTF-8"
        case json.JSONDecodeError() | _NotJsonError():
            return str(error)
        case _:  # Python's limit on the digits of an integer
            return "it has a number with too many digits"


class _NotJsonError(ValueError):
    """A literal that Python's parser accepts and JSON does not have: NaN, Infinity."""


def _refuse_constant(name: str) -> None:
    raise _NotJsonError(f"{name} is not JSON")


def kind_of(value: object) -> str:
    """Return the type of a JSON value as an error message names it."""
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


_decoder = json.JSONDecoder(
    object_pairs_hook=_object_with_unique_names, parse_constant=_refuse_constant
)
