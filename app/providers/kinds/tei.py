"""Hugging Face's Text Embeddings Inference: its own API, or its OpenAI one.

Source: huggingface.github.io/text-embeddings-inference, and router/src/http/ of the server (July
2026), read on 2026-11-29. The own API is the default, because it can be told not to cut long texts
silently and which prompt of the model to use; the OpenAI one (``"api": "openai"``) answers base64,
a quarter of the bytes. Errors are flat in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from marshmallow import fields, validate

from app.config import ProviderSettings
from app.config.fields import boolean
from app.domain import Call, Vectors
from app.providers.base import Capabilities, Incoming, LongText, Outgoing, WireFormat
from app.providers.bodies import count_in_header, encode, guard, read, row_of
from app.providers.dialect import Dialect
from app.providers.kinds.openai import OpenAI
from app.providers.options import Option, changes_vector

#: Its --max-client-batch-size, unless the operator sets another.
_MAX_INPUTS = 32
_BASE_URL = "http://127.0.0.1:8080"


def _is_native(options: Mapping[str, Any], _model: str) -> bool:
    return options.get("api") != "openai"


OPTIONS = {
    # The OpenAI one leaves truncation and prompts to the server.
    "api": Option(
        fields.String(validate=validate.OneOf(["native", "openai"])), changes_vector("native")
    ),
    "send_dimensions": Option(boolean(), changes_vector(True)),
    # The names of the model's own prompts, for instance {"query": "query", "document": "passage"}:
    # which there are, its config_sentence_transformers.json says. Without: none is used.
    "prompts": Option(
        fields.Dict(
            keys=fields.String(validate=validate.OneOf(["query", "document"])),
            values=fields.String(validate=validate.Length(min=1)),
        ),
        changes_vector({}, _is_native),
    ),
    "truncate": Option(boolean(), changes_vector(False, _is_native)),
    "normalize": Option(boolean(), changes_vector(True, _is_native)),  # TEI's default
}
_OPENAI = Dialect(
    # Its OpenAI API takes no field for it, and --auto-truncate is on unless set otherwise
    # (router/src/http/server.rs, openai_embed).
    long_text=LongText.CUT_SILENTLY,
    base_url=_BASE_URL,
    path="/v1/embeddings",
    max_inputs=_MAX_INPUTS,
)
_rows = msgspec.json.Decoder(list[msgspec.Raw])


def make(settings: ProviderSettings) -> WireFormat:
    if settings.options.get("api") == "openai":
        return OpenAI(settings, _OPENAI)
    return Tei(settings)


class Tei(WireFormat):
    """``POST {base_url}/embed``; the server serves one model and wants no name of it."""

    base_url = _BASE_URL

    def __init__(self, settings: ProviderSettings) -> None:
        options = settings.options
        self.capabilities = Capabilities(
            max_inputs=_MAX_INPUTS,
            dimensions=options.get("send_dimensions", True),
            long_text=LongText.chosen(options.get("truncate", False)),
        )
        self._prompts = options.get("prompts", {})
        self._always = {
            "truncate": options.get("truncate", False),
            "normalize": options.get("normalize", True),
        }
        self._headers = {"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}

    def build(self, call: Call) -> Outgoing:
        body: dict[str, Any] = {**self._always}
        if call.input_type in self._prompts:
            body["prompt_name"] = self._prompts[call.input_type]
        body.update(call.passed)
        body["inputs"] = call.items
        if call.dimensions is not None:
            body["dimensions"] = call.dimensions
        return Outgoing("/embed", encode(body), self._headers)

    def parse(self, answer: Incoming, call: Call) -> Vectors:
        rows = [row_of(row) for row in read(_rows, answer.body, "a list of embeddings")]
        return guard(rows, call, count_in_header(answer.headers.get("x-compute-tokens", "")))
