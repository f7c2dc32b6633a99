"""Check the JSON of a request, and make an `EmbeddingRequest` of it.

Error messages are worded as OpenAI's: platform.openai.com/docs/guides/error-codes and responses of
the live API.
"""

from __future__ import annotations

from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError
from msgspec import Struct, structs

from app.api.request_fields import Input, TypedField, between, length_up_to, one_of
from app.domain import DEFAULT_TIMEOUT, Caller, EmbeddingRequest
from app.errors import BadRequest

MAX_USER_LENGTH = 256  # characters
MAX_TIMEOUT = 3600  # seconds
ENCODINGS = ("float", "base64")
INPUT_TYPES = ("query", "document")
#: In the order of OpenAI's documentation. "auto" is the tier of the key.
SERVICE_TIERS = ("auto", "default", "flex", "priority")
_NO_CALLER = Caller("")


class Parsed(Struct, frozen=True):
    """A request, and its further fields: those that the model's settings may pass on."""

    request: EmbeddingRequest
    extra: dict[str, Any]

    def with_extra(self) -> EmbeddingRequest:
        """Return the request with the further fields, to be passed on."""
        return structs.replace(self.request, passed=self.extra)

    def with_trace(self, trace: Any) -> Parsed:
        """Return the same with the trace context of the caller's span."""
        return structs.replace(self, request=structs.replace(self.request, trace=trace))


class EmbeddingSchema(Schema):
    """The body of ``POST /v1/embeddings``; read with `parse`."""

    class Meta:
        unknown = EXCLUDE  # `parse` takes further fields out

    model = TypedField(str, "a string", length_up_to(MAX_USER_LENGTH, 1), required=True)
    input = Input(required=True)
    encoding_format = TypedField(str, "a string", one_of(ENCODINGS))
    dimensions = TypedField(int, "an integer", between(1, None))
    user = TypedField(str, "a string", length_up_to(MAX_USER_LENGTH))
    input_type = TypedField(str, "a string", one_of(INPUT_TYPES))
    timeout = TypedField(int, "an integer", between(1, MAX_TIMEOUT))
    caching = TypedField(bool, "a boolean")
    service_tier = TypedField(str, "a string", one_of(SERVICE_TIERS))

    def __init__(self, max_items: int, records_calls: bool = False) -> None:
        super().__init__()
        self.max_items = max_items  # inputs in one request
        self._records_calls = records_calls  # an observer keeps the calls of requests

    def parse(
        self, payload: dict[str, Any], model: str | None = None, caller: Caller = _NO_CALLER
    ) -> Parsed:
        """Check a body, and return the request. Raises `BadRequest`.

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
            loaded = self.load(given, partial=True)  # required fields were checked above
        except ValidationError as error:
            name, messages = next(iter(error.normalized_messages().items()))
            raise BadRequest(messages[0], param=name) from error
        tier, user = loaded.get("service_tier"), loaded.get("user")
        return Parsed(
            EmbeddingRequest(
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
            ),
            extra,
        )
