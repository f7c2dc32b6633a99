"""Google's Gemini API: ``models/{model}:batchEmbedContents``, and how Google says no.

Source: ai.google.dev/api/embeddings and ai.google.dev/gemini-api/docs/embeddings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import msgspec

from app.config import ProviderSettings
from app.domain import Call, Vectors
from app.errors import CredentialsRefused, ProviderError, Throttled
from app.providers.base import (
    UNREADABLE,
    Capabilities,
    Incoming,
    Outgoing,
    WireFormat,
    guard,
    only_text,
    read,
    row_of,
)
from app.vectors import BYTES_PER_VALUE, cut

OPTIONS: dict[str, Any] = {}

#: The portable hint as Google's task type.
TASKS = {"query": "RETRIEVAL_QUERY", "document": "RETRIEVAL_DOCUMENT"}
#: Models whose task is written into the text, and who know no task type (embeddings guide).
_TASKLESS = "gemini-embedding-2"
#: The operator's project, which a caller need not know.
_PROJECT = re.compile(rb"\bprojects/[^/\s\"]+")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)s")


def make(settings: ProviderSettings) -> Gemini:
    return Gemini(settings)


class _Detail(msgspec.Struct):
    type: str = msgspec.field(default="", name="@type")
    reason: str = ""
    retryDelay: str = ""  # noqa: N815 - "34s", "1.5s"


class _Status(msgspec.Struct):
    status: str = ""
    message: str = ""
    details: list[_Detail] = []


class _Error(msgspec.Struct):
    error: _Status


class _Embedding(msgspec.Struct):
    values: msgspec.Raw


class _Usage(msgspec.Struct):
    promptTokenCount: int = 0  # noqa: N815


class _Answer(msgspec.Struct):
    embeddings: list[_Embedding]
    usageMetadata: _Usage | None = None  # noqa: N815 - newer than the API, and often missing


_answer = msgspec.json.Decoder(_Answer)
_error = msgspec.json.Decoder(_Error)
_encode = msgspec.json.Encoder().encode


class Google(WireFormat):
    """What Google's APIs have in common: the shape of their errors (google.rpc.Status)."""

    def refuse(self, answer: Incoming, secrets: Sequence[str]) -> ProviderError:
        found = _Status()
        with suppress(*UNREADABLE):
            found = _error.decode(answer.body).error
        if found.status == "FAILED_PRECONDITION" or any(
            detail.reason.startswith("API_KEY_") for detail in found.details
        ):
            # Both come as 400, yet no caller can mend them: a wrong key, no billing, a country
            # that is not served.
            return CredentialsRefused(f"refused our account ({answer.status})")
        body = _PROJECT.sub(b"projects/[redacted]", answer.body)
        refused = super().refuse(replace(answer, body=body), secrets)
        if isinstance(refused, Throttled) and refused.retry_after is None:
            refused.retry_after = _delay(found.details)
        return refused


class Gemini(Google):
    """``POST {base_url}/models/{model}:batchEmbedContents`` with a key."""

    base_url = "https://generativelanguage.googleapis.com/v1beta"
    capabilities = Capabilities(max_inputs=100, tokens=False)

    def __init__(self, settings: ProviderSettings) -> None:
        self._headers = {"x-goog-api-key": settings.api_key} if settings.api_key else {}

    def build(self, call: Call) -> Outgoing:
        only_text(call)
        model = call.model.removeprefix("models/")
        common: dict[str, Any] = {}
        if call.input_type is not None and not model.startswith(_TASKLESS):
            common["taskType"] = TASKS[call.input_type]
        common |= {**call.passed, "model": f"models/{model}"}
        if call.dimensions is not None:
            common["outputDimensionality"] = call.dimensions
        # A content for each text: the parts of one content become a single vector.
        requests = [{**common, "content": {"parts": [{"text": item}]}} for item in call.items]
        path = f"/models/{quote(model, safe='')}:batchEmbedContents"
        return Outgoing(path, _encode({"requests": requests}), self._headers)

    def parse(self, answer: Incoming, call: Call) -> Vectors:
        found = read(_answer, answer.body, "Gemini's list of embeddings")
        usage = found.usageMetadata
        total = usage.promptTokenCount if usage is not None else 0
        rows = [row_of(embedding.values) for embedding in found.embeddings]
        return of_length_1(guard(rows, call, total if total > 0 else None), call)


def of_length_1(vectors: Vectors, call: Call) -> Vectors:
    """Vectors scaled to length 1 where they were asked for at a width.

    gemini-embedding-001 cuts its vectors and leaves them short of it ("you must manually normalize
    non-3072 dimensions", embeddings guide); to others this does nothing.
    """
    if call.dimensions is None:
        return vectors
    return replace(vectors, rows=[cut(row, len(row) // BYTES_PER_VALUE) for row in vectors.rows])


def _delay(details: Sequence[_Detail]) -> float | None:
    for detail in details:
        seconds = _DURATION.fullmatch(detail.retryDelay)
        if seconds is not None:
            return float(seconds[1])
    return None
