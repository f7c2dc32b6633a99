"""OpenAI's wire format, and that of every server that speaks it: vLLM, TEI, Ollama, LocalAI …

Source: platform.openai.com/docs/api-reference/embeddings.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
from marshmallow import fields, validate

from app.config import ProviderSettings
from app.domain import Call, Encoding, Vectors
from app.errors import BrokenContract
from app.providers.base import Capabilities, Incoming, Outgoing, WireFormat, guard, in_order
from app.vectors import BadVector, from_floats

OPTIONS = {
    # What to send as `encoding_format`. base64 is a quarter of the bytes, a tenth of the
    # parsing; "float" is for servers that know only that, "omit" for those that refuse the field.
    "encoding": fields.String(validate=validate.OneOf(["base64", "float", "omit"])),
    "send_dimensions": fields.Boolean(truthy={True}, falsy={False}),
    "send_user": fields.Boolean(truthy={True}, falsy={False}),
}


def make(settings: ProviderSettings) -> OpenAI:
    return OpenAI(settings)


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    total_tokens: int | None = None


class _Compact(msgspec.Struct):
    index: int
    embedding: bytes  # msgspec decodes base64 on the way


class _Verbose(msgspec.Struct):
    index: int
    embedding: msgspec.Raw


class _CompactAnswer(msgspec.Struct):
    data: list[_Compact]
    usage: _Usage | None = None


class _VerboseAnswer(msgspec.Struct):
    data: list[_Verbose]
    usage: _Usage | None = None


_compact = msgspec.json.Decoder(_CompactAnswer)
_verbose = msgspec.json.Decoder(_VerboseAnswer)
_floats = msgspec.json.Decoder(list[float])
_base64 = msgspec.json.Decoder(bytes)
_encode = msgspec.json.Encoder().encode


class OpenAI(WireFormat):
    """``POST {base_url}/embeddings`` with a bearer key."""

    base_url = "https://api.openai.com/v1"

    def __init__(self, settings: ProviderSettings) -> None:
        options = settings.options
        encoding = options.get("encoding", "base64")
        self._fields = {} if encoding == "omit" else {"encoding_format": encoding}
        self.capabilities = Capabilities(
            max_inputs=2048,
            max_tokens=300_000,
            dimensions=options.get("send_dimensions", True),
            user=options.get("send_user", False),
        )
        self._headers = {"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}

    def build(self, call: Call) -> Outgoing:
        body: dict[str, Any] = {"model": call.model, "input": call.items, **self._fields}
        if call.dimensions is not None:
            body["dimensions"] = call.dimensions
        if call.user is not None:
            body["user"] = call.user
        body.update(call.passed)
        return Outgoing("/embeddings", _encode(body), self._headers)

    def parse(self, answer: Incoming, call: Call) -> Vectors:
        found = decode(answer.body)
        rows = in_order([(item.index, item.embedding) for item in found.data], len(call.items))
        encoding: Encoding = "base64" if isinstance(found, _CompactAnswer) else "float"
        if isinstance(found, _VerboseAnswer):
            # One row at a time: the Python floats of all rows at once would take ten times the
            # memory of the answer.
            rows = [_row(raw) for raw in rows]
        return replace(guard(rows, call, tokens_of(found.usage)), encoding=encoding)


def decode(body: bytes) -> _CompactAnswer | _VerboseAnswer:
    """An answer in either encoding, whichever was asked for; `BrokenContract` if it is neither."""
    try:
        return _compact.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):  # floats, or broken: the second look decides
        pass
    try:
        return _verbose.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BrokenContract("answered something that is not OpenAI's embedding list") from error


def tokens_of(usage: _Usage | None) -> int | None:
    """The count in ``usage``, or None where there is none worth the name."""
    if usage is None:
        return None
    count = usage.prompt_tokens if usage.prompt_tokens is not None else usage.total_tokens
    return count if count is not None and count >= 0 else None


def _row(raw: msgspec.Raw) -> bytes:
    try:
        if memoryview(raw)[0] == ord('"'):
            return _base64.decode(raw)
        return from_floats(_floats.decode(raw))
    except (msgspec.DecodeError, BadVector) as error:
        raise BrokenContract("answered an embedding that is not a list of numbers") from error
