"""Check the JSON of a request and each of its fields, and make an `EmbeddingRequest` of it.

Error messages are worded as OpenAI's: platform.openai.com/docs/guides/error-codes and responses of
the live API.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from marshmallow import EXCLUDE, Schema, ValidationError, fields

from app.api.json_body import kind_of
from app.domain import DEFAULT_TIMEOUT, Caller, EmbeddingRequest, Item
from app.errors import BadRequest, shown

MAX_USER_LENGTH = 256  # characters
MAX_TIMEOUT = 3600  # seconds
ENCODINGS = ("float", "base64")
INPUT_TYPES = ("query", "document")
#: In the order of OpenAI's documentation. "auto" is the tier of the key.
SERVICE_TIERS = ("auto", "default", "flex", "priority")
_NO_CALLER = Caller("")
#: Inference engines take token ids as int32; vocabularies have about 10^5 tokens.
MAX_TOKEN_ID = 2**31 - 1
_UNENCODABLE = "it has an unpaired UTF-16 surrogate, which UTF-8 cannot encode."


class Constraint(NamedTuple):
    """A constraint on a value: a function that returns what is wrong or None, and JSON Schema."""

    find_problem: Callable[[str, Any], str | None]
    schema: Mapping[str, Any]


_ANY = Constraint(lambda _, __: None, {})
_JSON_NAMES = {str: "string", int: "integer", bool: "boolean"}


class TypedField(fields.Field[Any]):
    """A field of one JSON type. ``json_schema`` describes it in /openapi.json."""

    def __init__(
        self, type_: type, expected: str, constraint: Constraint = _ANY, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._type, self._expected, self._find_problem = type_, expected, constraint.find_problem
        self.json_schema = {"type": _JSON_NAMES[type_], **constraint.schema}

    def _deserialize(self, value: Any, attr: Any, data: Any, **_: Any) -> Any:
        # Not isinstance: in Python True is an int, in JSON it is no integer.
        if type(value) is not self._type:
            raise ValidationError(
                f"Invalid type for '{attr}': expected {self._expected}, "
                f"but got {kind_of(value)} instead."
            )
        problem = self._find_problem(attr, value)
        if problem:
            raise ValidationError(problem)
        return value


def one_of(values: tuple[str, ...]) -> Constraint:
    """Return the constraint that a string is one of some."""

    def find_problem(name: str, value: str) -> str | None:
        if value in values:
            return None
        return f"Invalid value for '{name}' = {shown(value)}. Supported values: {list(values)}."

    return Constraint(find_problem, {"enum": list(values)})


def between(low: int, high: int | None) -> Constraint:
    """Return the constraint that an integer has these bounds; ``high`` None: no upper one."""

    def find_problem(name: str, value: int) -> str | None:
        if value < low or (high is not None and value > high):
            bounds = f"at least {low}" if high is None else f"between {low} and {high}"
            return f"Invalid value for '{name}' = {shown(value)}. Must be {bounds}."
        return None

    return Constraint(find_problem, {"minimum": low} | ({} if high is None else {"maximum": high}))


def length_up_to(max_length: int, min_length: int = 0) -> Constraint:
    """Return the constraint that a string is as long, in characters, and can be sent as UTF-8."""

    def find_problem(name: str, value: str) -> str | None:
        if len(value) > max_length:
            return (
                f"Invalid '{name}': string too long. Expected a string with maximum length "
                f"{max_length}, but got a string with length {len(value)} instead."
            )
        return None if _is_encodable(value) else f"Invalid '{name}': {_UNENCODABLE}"

    # The minimum is only documented: `EmbeddingSchema` reports a missing model as OpenAI does.
    return Constraint(find_problem, {"minLength": min_length, "maxLength": max_length})


def _is_encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Input(fields.Field[Any]):
    """The four forms of ``input``, read as a list of items: all texts or all token lists."""

    @property
    def json_schema(self) -> dict[str, Any]:
        """The four forms in JSON Schema."""
        text = {"type": "string", "minLength": 1}
        token = {"type": "integer", "minimum": 0, "maximum": MAX_TOKEN_ID}
        tokens = {"type": "array", "items": token, "minItems": 1}
        max_items = cast("UsualFields", self.parent).max_items
        several = {"type": "array", "minItems": 1, "maxItems": max_items}
        return {
            "oneOf": [
                {**text, "title": "text"},
                {**several, "items": text, "title": "texts"},
                {**tokens, "title": "token ids"},
                {**several, "items": tokens, "title": "lists of token ids"},
            ]
        }

    def _deserialize(self, value: Any, attr: Any, data: Any, **_: Any) -> list[Item]:
        try:
            return self._items(value, cast("UsualFields", self.parent).max_items)
        except ValueError as error:
            raise ValidationError(f"'$.input' is invalid. {error}") from error

    def _items(self, value: Any, max_items: int) -> list[Item]:
        if isinstance(value, str):
            _check_texts([value])
            return [value]
        if not isinstance(value, list):
            raise ValueError(f"A string or an array was expected, but got {kind_of(value)}.")
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
            raise ValueError(f"Strings or token arrays were expected, but got {kind_of(value[0])}.")
        return value


def _check_texts(texts: list[Any]) -> None:
    for text in texts:
        if type(text) is not str:
            raise ValueError("Every input must be a string, where the first one is.")
        if not text:
            raise ValueError("No input may be an empty string.")
        if not text.isascii() and not _is_encodable(text):
            raise ValueError(f"One input cannot be read: {_UNENCODABLE}")


def _check_tokens(tokens: list[Any]) -> None:
    if not tokens:
        raise ValueError("No token array may be empty.")
    if set(map(type, tokens)) != {int}:
        raise ValueError("Every token id must be an integer.")
    if min(tokens) < 0 or max(tokens) > MAX_TOKEN_ID:
        raise ValueError(f"Every token id must be between 0 and {MAX_TOKEN_ID}.")


class UsualFields(Schema):
    """A schema of the four fields that most requests have: it takes less time for these.

    OpenAI's SDKs send no others by themselves.
    """

    class Meta:
        unknown = EXCLUDE  # `EmbeddingSchema.parse` takes further fields out

    model = TypedField(str, "a string", length_up_to(MAX_USER_LENGTH, 1), required=True)
    input = Input(required=True)
    encoding_format = TypedField(str, "a string", one_of(ENCODINGS))
    dimensions = TypedField(int, "an integer", between(1, None))

    def __init__(self, max_items: int) -> None:
        super().__init__()
        self.max_items = max_items  # inputs in one request


class EmbeddingSchema(UsualFields):
    """The body of ``POST /v1/embeddings``; read with `parse`."""

    user = TypedField(str, "a string", length_up_to(MAX_USER_LENGTH))
    input_type = TypedField(str, "a string", one_of(INPUT_TYPES))
    timeout = TypedField(int, "an integer", between(1, MAX_TIMEOUT))
    caching = TypedField(bool, "a boolean")
    service_tier = TypedField(str, "a string", one_of(SERVICE_TIERS))

    def __init__(self, max_items: int, records_calls: bool = False) -> None:
        super().__init__(max_items)
        # marshmallow visits all fields of a schema, given or not: the other five take 4 µs.
        self._usual = UsualFields(max_items)
        self._records_calls = records_calls  # an observer keeps the calls of requests

    def parse(
        self, payload: dict[str, Any], model: str | None = None, caller: Caller = _NO_CALLER
    ) -> tuple[EmbeddingRequest, dict[str, Any]]:
        """Check a body; return the request, and the further fields. Raises `BadRequest`.

        ``model`` is the name in the path, if there is one; it replaces the field. Whether the
        caller may use the model and ask for the tier is not checked here.
        """
        # A model's settings may pass further fields on to its provider. They are taken out first:
        # marshmallow would take a second for each 300,000 of them.
        given: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        for name, value in payload.items():
            if value is not None:
                (given if name in self.fields else extra)[name] = value
        if model is not None:
            given["model"] = model
        if not given.get("model"):
            raise BadRequest("you must provide a model parameter", param="model")
        if "input" not in given:
            raise BadRequest("Missing required parameter: 'input'.", param="input")
        try:
            schema = self._usual if given.keys() <= self._usual.fields.keys() else self
            loaded = schema.load(given, partial=True)  # required fields were checked above
        except ValidationError as error:
            name, messages = next(iter(error.normalized_messages().items()))
            raise BadRequest(messages[0], param=name) from error
        tier, user = loaded.get("service_tier"), loaded.get("user")
        request = EmbeddingRequest(
            model=loaded["model"],
            items=loaded["input"],
            encoding=loaded.get("encoding_format", "float"),
            dimensions=loaded.get("dimensions"),
            user=user,
            input_type=loaded.get("input_type"),
            timeout=loaded.get("timeout", DEFAULT_TIMEOUT),
            caching=loaded.get("caching", False),
            flow=caller.flow(None if tier == "auto" else tier, user),
            calls=[] if self._records_calls else None,
        )
        return request, extra
