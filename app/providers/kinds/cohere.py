"""Cohere's embed API, version 2.

Source: docs.cohere.com/reference/embed and …/reference/errors. Vectors come in the order of the
texts, by type; base64 is that of their float32s. Cohere's default cuts long texts silently; ours
is an error. Request as in Cohere's API description (openapi.yaml in github.com/tryAGI/Cohere, of
August 2026), read on 2026-11-29.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from marshmallow import fields, validate

from app.config import ProviderSettings
from app.config.fields import boolean
from app.domain import Call, Vectors
from app.errors import BrokenContract, CredentialsRefused, ProviderError, Throttled
from app.providers.base import Capabilities, Incoming, LongText, Outgoing, WireFormat
from app.providers.bodies import count_in, encode, guard, only_text, read, row_of
from app.providers.dialect import limits_of
from app.providers.options import NO_EFFECT, Option, changes_vector

_MODELS: dict[str, dict[str, Any]] = {"embed-*-v[23].0": {"dimensions": False}}
_HINTS = {"query": "search_query", "document": "search_document"}
OPTIONS = {
    "encoding": Option(fields.String(validate=validate.OneOf(["base64", "float"])), NO_EFFECT),
    "send_dimensions": Option(
        boolean(),
        changes_vector(lambda model: limits_of(model, Capabilities(), _MODELS).dimensions),
    ),
    "truncate": Option(
        fields.String(validate=validate.OneOf(["NONE", "START", "END"])), changes_vector("NONE")
    ),
    # What a text is where the caller does not say: Cohere wants to be told.
    "input_type": Option(
        fields.String(
            validate=validate.OneOf(
                ["search_document", "search_query", "classification", "clustering"]
            )
        ),
        changes_vector("search_document"),
    ),
}
#: Seconds: a trial key's calls are counted by the month, so a minute changes nothing.
_MONTHLY_REST = 3600.0


def make(settings: ProviderSettings) -> Cohere:
    return Cohere(settings)


class _Embeddings(msgspec.Struct, rename={"floats": "float"}):
    floats: list[msgspec.Raw] | None = None
    base64: list[msgspec.Raw] | None = None


class _Answer(msgspec.Struct):
    embeddings: _Embeddings
    meta: msgspec.Raw = msgspec.Raw()


_answer = msgspec.json.Decoder(_Answer)


class Cohere(WireFormat):
    """``POST {base_url}/v2/embed`` with a bearer key."""

    base_url = "https://api.cohere.com"

    def __init__(self, settings: ProviderSettings) -> None:
        options = settings.options
        self.capabilities = Capabilities(
            max_inputs=96,
            dimensions=options.get("send_dimensions", True),
            tokens=False,
            long_text=LongText.chosen(options.get("truncate", "NONE") != "NONE"),
        )
        self._own = {"dimensions"} if "send_dimensions" in options else set()
        self._encoding = options.get("encoding", "base64")
        self._truncate = options.get("truncate", "NONE")
        self._input_type = options.get("input_type", "search_document")
        self._headers = {"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}

    def limits(self, model: str) -> Capabilities:
        return limits_of(model, self.capabilities, _MODELS, self._own)

    def build(self, call: Call) -> Outgoing:
        only_text(call)
        body: dict[str, Any] = {
            "input_type": _HINTS.get(call.input_type or "", self._input_type),
            "truncate": self._truncate,
            **call.passed,
            "model": call.model,
            "texts": call.items,
            "embedding_types": [self._encoding],
        }
        if call.dimensions is not None:
            body["output_dimension"] = call.dimensions
        return Outgoing("/v2/embed", encode(body), self._headers)

    def parse(self, answer: Incoming, call: Call) -> Vectors:
        found = read(_answer, answer.body, "Cohere's embeddings by type")
        rows = found.embeddings.base64 or found.embeddings.floats
        if rows is None:
            raise BrokenContract("answered no embeddings of the type asked for")
        total = count_in(found.meta, "billed_units.input_tokens")
        return guard([row_of(row) for row in rows], call, total)

    def refuse(self, answer: Incoming, secrets: Sequence[str]) -> ProviderError:
        if answer.status == 498:  # "invalid token"
            return CredentialsRefused("refused our credentials (498)")
        error = super().refuse(answer, secrets)
        if isinstance(error, Throttled) and error.retry_after is None and b"month" in answer.body:
            error.retry_after = _MONTHLY_REST
        return error
