"""The differences between servers that speak OpenAI's wire format, as data: a `Dialect` each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from marshmallow import fields, validate

from app.config import addresses
from app.config.fields import boolean
from app.domain import InputType
from app.providers.base import Capabilities, LongText
from app.providers.options import NO_EFFECT, Option, changes_vector


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server that speaks OpenAI's format accepts, and the names that it has for that."""

    long_text: LongText  # what becomes of one over the model's context
    base_url: str | None = None  # None: an operator must say
    path: str = "/embeddings"  # "{model}" stands for the model, which then leaves the body
    max_inputs: int | None = 2048
    max_tokens: int | None = None
    #: What may be asked for, best first. base64 is a quarter of the bytes and a tenth of the
    #: parsing; "omit" is for servers that refuse the field.
    encodings: tuple[str, ...] = ("base64", "float", "omit")
    encoding_field: str = "encoding_format"
    dimensions_field: str | None = "dimensions"  # None: not taken
    tokens: bool = True
    user: bool = False
    #: By input type: the fields that say it to the server. None: those sent where none is given.
    hints: Mapping[InputType | None, Mapping[str, str]] = field(default_factory=dict)
    #: The same for models that differ: a shell pattern of their names → their own ``hints``.
    model_hints: Mapping[str, Mapping[InputType | None, Mapping[str, str]]] = field(
        default_factory=dict
    )
    #: Sent always, unless the caller says otherwise.
    always: Mapping[str, Any] = field(default_factory=dict)
    #: What differs for some models: a shell pattern of their names → fields of `Capabilities`.
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: Whether ``insufficient_quota`` means that the money is gone, and not this minute's share.
    quota_is_money: bool = True
    #: Words of a 5xx that say that an input was at fault, and not the server.
    blames_input: tuple[str, ...] = ()

    def hint(self, model: str, input_type: InputType | None) -> Mapping[str, str]:
        """Return the fields that say the input type of a call to the model."""
        for pattern, words in self.model_hints.items():
            if fnmatchcase(model, pattern):
                return words.get(input_type, {})
        return self.hints.get(input_type, {})


def options(dialect: Dialect) -> dict[str, Option]:
    """Return the options of a kind with that dialect: those that its servers can use."""

    def takes_dimensions(model: str) -> bool:
        return limits_of(model, Capabilities(), dialect.models).dimensions

    found: dict[str, Option] = {}
    if dialect.base_url is None:
        found["base_url"] = Option(address(), NO_EFFECT)
    if len(dialect.encodings) > 1:
        encoding = fields.String(validate=validate.OneOf(dialect.encodings))
        found["encoding"] = Option(encoding, NO_EFFECT)
    if dialect.dimensions_field:  # where they are not sent, the proxy cuts
        found["send_dimensions"] = Option(boolean(), changes_vector(takes_dimensions))
    if dialect.tokens:  # where they are not sent, their text is, framed by the server
        found["send_tokens"] = Option(boolean(), changes_vector(True))
    if dialect.user:
        found["send_user"] = Option(boolean(), NO_EFFECT)
    return found


def address() -> fields.Field[Any]:
    """``base_url``, for kinds that have no default."""
    return fields.String(required=True, validate=addresses.address)


def limits_of(
    model: str,
    general: Capabilities,
    models: Mapping[str, Mapping[str, Any]],
    kept: Collection[str] = (),
) -> Capabilities:
    """Return the capabilities for one model; ``kept`` are those that the settings have set."""
    for pattern, special in models.items():
        if fnmatchcase(model, pattern):
            return replace(general, **{n: v for n, v in special.items() if n not in kept})
    return general
