"""OpenAI's wire format, and that of servers that differ from it in details.

Source: platform.openai.com/docs/api-reference/embeddings and …/docs/guides/error-codes. What other
servers do otherwise is data, a `Dialect`; those with a ``kind`` of their own are in `presets`.
Request and limits as in openapi.yaml of github.com/openai/openai-openapi (August 2026), read on
2026-11-29: 8192 tokens an input, 2048 inputs, 300,000 tokens in all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import structs

from app.concurrency.yielding import ROWS_PER_YIELD, map_with_yields
from app.config import ProviderSettings
from app.domain import Call, Encoding, Vectors
from app.errors import BrokenContract, CredentialsRefused, ProviderError, Throttled
from app.providers.base import Capabilities, Incoming, LongText, Outgoing, WireFormat
from app.providers.bodies import (
    count_in,
    encode,
    guard,
    in_order,
    is_base64,
    only_text,
    read,
    row_of,
)
from app.providers.dialect import Dialect, limits_of, options
from app.providers.refusals import blamed, clean, message_of

OPENAI = Dialect(
    long_text=LongText.ERROR_THERE,  # "maximum context length", "maximum input length"
    base_url="https://api.openai.com/v1",
    max_tokens=300_000,
    user=True,
    models={"text-embedding-ada-002": {"dimensions": False}},
)
OPTIONS = options(OPENAI)


def make(settings: ProviderSettings) -> OpenAI:
    host = urlsplit(settings.base_url or OPENAI.base_url or "").hostname or ""
    if f".{host}".endswith(".api.openai.com"):  # or of a region: eu.api.openai.com
        return OpenAI(settings, OPENAI)
    return OpenAI(settings, replace(OPENAI, long_text=LongText.NOT_KNOWN))


class _Item(msgspec.Struct):
    index: int
    embedding: msgspec.Raw


class _Answer(msgspec.Struct):
    data: list[_Item]
    usage: msgspec.Raw = msgspec.Raw()


class _Error(msgspec.Struct):
    code: str | int | None = None


class _Refusal(msgspec.Struct):
    error: _Error


_answer = msgspec.json.Decoder(_Answer)
_refusal = msgspec.json.Decoder(_Refusal)

#: Codes that mean, with any status, that a bill or an agreement is missing.
_UNPAID = {"billing_hard_limit_reached", "billing_not_active", "account_deactivated", "Arrearage"}
#: Seconds a provider rests whose quota is used up: an operator must act before it can serve again.
QUOTA_REST = 600.0


class OpenAI(WireFormat):
    """``POST {base_url}/embeddings`` with a bearer key."""

    def __init__(self, settings: ProviderSettings, dialect: Dialect) -> None:
        options = settings.options
        self.base_url = dialect.base_url
        self.dialect = dialect
        encoding = options.get("encoding", dialect.encodings[0])
        self._fields = {} if encoding == "omit" else {dialect.encoding_field: encoding}
        self.capabilities = Capabilities(
            max_inputs=dialect.max_inputs,
            max_tokens=dialect.max_tokens,
            dimensions=bool(dialect.dimensions_field) and options.get("send_dimensions", True),
            tokens=dialect.tokens and options.get("send_tokens", True),
            user=options.get("send_user", False),
            long_text=dialect.long_text,
        )
        self._own = {"dimensions"} if "send_dimensions" in options else set()
        self._headers = {"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}

    def limits(self, model: str) -> Capabilities:
        return limits_of(model, self.capabilities, self.dialect.models, self._own)

    def build(self, call: Call) -> Outgoing:
        if not self.capabilities.tokens:
            only_text(call)
        dialect = self.dialect
        body: dict[str, Any] = {**dialect.always, **dialect.hint(call.model, call.input_type)}
        body.update(call.passed)
        body["input"] = call.items
        body.update(self._fields)
        if "{model}" not in dialect.path:
            body["model"] = call.model
        if call.dimensions is not None and dialect.dimensions_field:
            body[dialect.dimensions_field] = call.dimensions
        if call.user is not None:
            body["user"] = call.user
        path = dialect.path.replace("{model}", quote(call.model, safe=""))
        return Outgoing(path, encode(body), self.headers())

    def headers(self) -> Mapping[str, str]:
        """Return the headers with credentials; some formats override it, as theirs expire."""
        return self._headers

    def parse(self, answer: Incoming, call: Call) -> Vectors:
        found = read(_answer, answer.body, "OpenAI's embedding list")
        raw = in_order([(item.index, item.embedding) for item in found.data], len(call.items))
        # In either encoding, whichever was asked for.
        encoding: Encoding = "base64" if raw and is_base64(raw[0]) else "float"
        rows = map_with_yields(
            row_of, raw, 8 * ROWS_PER_YIELD if encoding == "base64" else ROWS_PER_YIELD
        )
        total = count_in(found.usage, "prompt_tokens", "total_tokens")
        return structs.replace(guard(rows, call, total), encoding=encoding)

    def refuse(self, answer: Incoming, secrets: Sequence[str]) -> ProviderError:
        code = _code_of(answer.body)
        if code in _UNPAID:
            return CredentialsRefused(
                f"wants a payment, or the account is closed ({answer.status})"
            )
        error = super().refuse(answer, secrets)
        if not isinstance(error, Throttled):
            message = clean(message_of(answer.body), secrets)
            return blamed(error, message, self.dialect.blames_input)
        if code == "insufficient_quota" and self.dialect.quota_is_money:
            rest = max(error.retry_after or 0, QUOTA_REST)
            return Throttled("says that our quota is used up (429)", retry_after=rest)
        return error


def _code_of(body: bytes | memoryview) -> str:
    try:
        return str(read(_refusal, body, "an error").error.code or "")
    except BrokenContract:
        return ""
