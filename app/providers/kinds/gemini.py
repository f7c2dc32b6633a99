"""Google's Gemini API: ``models/{model}:batchEmbedContents``, and Google's errors.

Source: ai.google.dev/api/embeddings and ai.google.dev/gemini-api/docs/embeddings, as of June 2026,
and what Google's own client sends: google/genai/models.py in github.com/googleapis/python-genai
(of August 2026), read on 2026-11-29.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import structs

from app.config import ProviderSettings
from app.domain import Call, InputType, Vectors
from app.errors import CredentialsRefused, ProviderError, Throttled
from app.providers.base import Capabilities, Incoming, LongText, Outgoing, WireFormat
from app.providers.bodies import count_in, encode, guard, only_text, read, row_of
from app.providers.options import Option
from app.providers.refusals import UNREADABLE, bounded_wait
from app.vectors import BYTES_PER_VALUE, cut

OPTIONS: dict[str, Option] = {}

#: The portable hint as Google's task type.
TASKS = {"query": "RETRIEVAL_QUERY", "document": "RETRIEVAL_DOCUMENT"}
#: How the names of models begin that know no task type: it is written into the text.
SECOND = "gemini-embedding-2"
#: The operator's project, which a caller need not know.
_PROJECT = re.compile(rb"\bprojects/[^/\s\"]+")
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)s")


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


class _Answer(msgspec.Struct):
    embeddings: list[_Embedding]
    usageMetadata: msgspec.Raw = msgspec.Raw()  # noqa: N815 - newer than the API, and often missing


_answer = msgspec.json.Decoder(_Answer)
_error = msgspec.json.Decoder(_Error)


class Google(WireFormat):
    """The base of Google's wire formats: reads errors, a google.rpc.Status in all of them."""

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
    #: It cuts, and cannot be told not to: `autoTruncate` is Vertex AI's alone ("auto_truncate
    #: parameter is only supported in Gemini Enterprise Agent Platform", google-genai's models.py).
    capabilities = Capabilities(max_inputs=100, tokens=False, long_text=LongText.CUT_SILENTLY)

    def __init__(self, settings: ProviderSettings) -> None:
        self._headers = {"x-goog-api-key": settings.api_key} if settings.api_key else {}

    def build(self, call: Call) -> Outgoing:
        only_text(call)
        model = call.model.removeprefix("models/")
        common: dict[str, Any] = dict(call.passed)
        items: Sequence[Any] = call.items
        if model.startswith(SECOND):
            items = with_task(items, call.input_type, common)
        elif call.input_type is not None:
            common.setdefault("taskType", TASKS[call.input_type])
        common["model"] = f"models/{model}"
        if call.dimensions is not None:
            common["outputDimensionality"] = call.dimensions
        # A content for each text: the parts of one content become a single vector.
        requests = [{**common, "content": {"parts": [{"text": item}]}} for item in items]
        path = f"/models/{quote(model, safe='')}:batchEmbedContents"
        return Outgoing(path, encode({"requests": requests}), self._headers)

    def parse(self, answer: Incoming, call: Call) -> Vectors:
        found = read(_answer, answer.body, "Gemini's list of embeddings")
        total = count_in(found.usageMetadata, "promptTokenCount")
        rows = [row_of(embedding.values) for embedding in found.embeddings]
        return of_length_1(guard(rows, call, total or None), call)


def with_task(
    texts: Sequence[Any], input_type: InputType | None, passed: dict[str, Any]
) -> Sequence[Any]:
    """Texts with their task as gemini-embedding-2 reads it; takes the title out of ``passed``.

    The words are those of the embeddings guide, "Task types with Embeddings 2", for retrieval.
    """
    if input_type == "query":
        return [f"task: search result | query: {text}" for text in texts]
    if input_type == "document":
        title = passed.pop("title", None) or "none"
        return [f"title: {title} | text: {text}" for text in texts]
    return texts


def of_length_1(vectors: Vectors, call: Call) -> Vectors:
    """Vectors scaled to length 1 where they were asked for at a width.

    gemini-embedding-001 cuts its vectors and leaves them short of it ("you must manually normalize
    non-3072 dimensions", embeddings guide); to others this does nothing.
    """
    if call.dimensions is None:
        return vectors
    return structs.replace(
        vectors, rows=[cut(row, len(row) // BYTES_PER_VALUE) for row in vectors.rows]
    )


def _delay(details: Sequence[_Detail]) -> float | None:
    for detail in details:
        seconds = _DURATION.fullmatch(detail.retryDelay)
        if seconds is not None:
            return bounded_wait(float(seconds[1]))
    return None
