"""JSON → `EmbeddingRequest`, with OpenAI's words for what is wrong.

Sources of the wording: platform.openai.com/docs/guides/error-codes and answers of the live API.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

from marshmallow import INCLUDE, Schema, ValidationError, fields

from app.domain import DEFAULT_TIMEOUT, EmbeddingRequest, Item
from app.errors import BadRequest

MAX_USER_LENGTH = 256  # characters
MAX_TIMEOUT = 3600  # seconds
#: Vocabularies have some 10^5 tokens; int32 is what engines take.
MAX_TOKEN_ID = 2**31 - 1
ENCODINGS = ("float", "base64")
INPUT_TYPES = ("query", "document")


def parse_json(body: bytes) -> dict[str, Any]:
    """A request body → its JSON object, or `BadRequest`.

    Python's own parser, since it alone sees duplicate keys; it is fast enough on the long strings
    and short integers that embeddings are asked for.
    """
    try:
        payload = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(
            f"We could not parse the JSON body of your request: {_reason(error)}."
        ) from error
    if not isinstance(payload, dict):
        raise BadRequest(
            "We could not parse the JSON body of your request: an object was expected, "
            f"but got {_kind(payload)} instead."
        )
    return payload


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        name = next(name for name in names if names.count(name) > 1)
        raise BadRequest(f"Duplicate parameter: {_shown(name)!r}.", param=_shown(name))
    return found


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


def _kind(value: object) -> str:
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


def _shown(name: object, length: int = 64) -> str:
    """Text of the caller's that is safe in an answer: encodable and short."""
    text = str(name).encode("utf-8", "replace").decode()
    return text if len(text) <= length else text[:length] + "…"


class _Field(fields.Field[Any]):
    """A field of one JSON type. ``rule`` returns the complaint about a value, or None."""

    def __init__(
        self,
        type_: type,
        expected: str,
        rule: Callable[[str, Any], str | None] = lambda _, __: None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._type, self._expected, self._rule = type_, expected, rule

    def _deserialize(self, value: Any, attr: Any, data: Any, **_: Any) -> Any:
        # Not isinstance: True is an int to Python, and no integer to JSON.
        if type(value) is not self._type:
            raise ValidationError(
                f"Invalid type for '{attr}': expected {self._expected}, "
                f"but got {_kind(value)} instead."
            )
        complaint = self._rule(attr, value)
        if complaint:
            raise ValidationError(complaint)
        return value


def _one_of(values: tuple[str, ...]) -> Callable[[str, Any], str | None]:
    def rule(name: str, value: str) -> str | None:
        if value in values:
            return None
        return f"Invalid value for '{name}' = {_shown(value)}. Supported values: {list(values)}."

    return rule


def _between(low: int, high: int | None) -> Callable[[str, Any], str | None]:
    def rule(name: str, value: int) -> str | None:
        if value < low or (high is not None and value > high):
            bounds = f"at least {low}" if high is None else f"between {low} and {high}"
            return f"Invalid value for '{name}' = {_shown(value)}. Must be {bounds}."
        return None

    return rule


def _text(max_length: int) -> Callable[[str, Any], str | None]:
    def rule(name: str, value: str) -> str | None:
        if len(value) > max_length:
            return (
                f"Invalid '{name}': string too long. Expected a string with maximum length "
                f"{max_length}, but got a string with length {len(value)} instead."
            )
        return None if _encodable(value) else f"Invalid '{name}': {_UNENCODABLE}"

    return rule


_UNENCODABLE = "half of a UTF-16 surrogate pair stands alone in it, which no UTF-8 can say."


def _encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Input(fields.Field[Any]):
    """The four shapes of ``input`` → a list of items, all texts or all token lists."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **_: Any) -> list[Item]:
        try:
            return self._items(value, cast(EmbeddingSchema, self.parent).max_items)
        except ValueError as error:
            raise ValidationError(f"'$.input' is invalid. {error}") from error

    def _items(self, value: Any, max_items: int) -> list[Item]:
        if isinstance(value, str):
            _check_texts([value])
            return [value]
        if not isinstance(value, list):
            raise ValueError(f"A string or an array was expected, but got {_kind(value)}.")
        if not value:
            raise ValueError("The array must not be empty.")
        first = type(value[0])
        if first is int:
            _check_tokens(value)
            return [value]
        if len(value) > max_items:
            raise ValueError(f"At most {max_items} inputs are allowed, got {len(value)}.")
        if first is str:
            _check_texts(value)
        elif first is list:
            for tokens in value:
                if type(tokens) is not list:
                    raise ValueError("Texts and token arrays must not be mixed.")
                _check_tokens(tokens)
        else:
            raise ValueError(f"Strings or token arrays were expected, but got {_kind(value[0])}.")
        return value


def _check_texts(texts: list[Any]) -> None:
    for text in texts:
        if type(text) is not str:
            raise ValueError("Every input must be a string, where the first one is.")
        if not text:
            raise ValueError("No input may be an empty string.")
        if not _encodable(text):
            raise ValueError(f"In an input, {_UNENCODABLE}")


def _check_tokens(tokens: list[Any]) -> None:
    if not tokens:
        raise ValueError("No token array may be empty.")
    if set(map(type, tokens)) != {int}:
        raise ValueError("Every token id must be an integer.")
    if min(tokens) < 0 or max(tokens) > MAX_TOKEN_ID:
        raise ValueError(f"Every token id must be between 0 and {MAX_TOKEN_ID}.")


@dataclass(frozen=True, slots=True)
class Parsed:
    """A request and the fields in it that only its model can know."""

    request: EmbeddingRequest
    extra: dict[str, Any]

    def with_extra(self) -> EmbeddingRequest:
        return replace(self.request, passed=self.extra)


class EmbeddingSchema(Schema):
    """The body of ``POST /v1/embeddings``. `parse` is the way in."""

    class Meta:
        unknown = INCLUDE  # a model may pass fields of its provider on

    model = _Field(str, "a string", _text(MAX_USER_LENGTH), required=True)
    input = _Input(required=True)
    encoding_format = _Field(str, "a string", _one_of(ENCODINGS))
    dimensions = _Field(int, "an integer", _between(1, None))
    user = _Field(str, "a string", _text(MAX_USER_LENGTH))
    input_type = _Field(str, "a string", _one_of(INPUT_TYPES))
    timeout = _Field(int, "an integer", _between(1, MAX_TIMEOUT))
    caching = _Field(bool, "a boolean")

    def __init__(self, max_items: int) -> None:
        super().__init__()
        self.max_items = max_items  # inputs in one request

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        field_obj.error_messages["required"] = f"Missing required parameter: '{field_name}'."

    def parse(self, payload: dict[str, Any], model: str | None = None) -> Parsed:
        """``model`` is the one named in the path, which wins. Raises `BadRequest`."""
        given = {name: value for name, value in payload.items() if value is not None}
        if model is not None:
            given["model"] = model
        if not given.get("model"):
            raise BadRequest("you must provide a model parameter", param="model")
        try:
            loaded = self.load(given)
        except ValidationError as error:
            name, found = next(iter(error.normalized_messages().items()))
            raise BadRequest(found[0], param=name) from error
        extra = {name: loaded.pop(name) for name in given if name not in self.fields}
        return Parsed(
            EmbeddingRequest(
                model=loaded["model"],
                items=loaded["input"],
                encoding=loaded.get("encoding_format", "float"),
                dimensions=loaded.get("dimensions"),
                user=loaded.get("user"),
                input_type=loaded.get("input_type"),
                timeout=loaded.get("timeout", DEFAULT_TIMEOUT),
                caching=loaded.get("caching", False),
            ),
            extra,
        )
