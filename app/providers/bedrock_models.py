"""The bodies of the models on Bedrock: each family speaks as its maker does.

Source: docs.aws.amazon.com: bedrock/latest/userguide/titan-embedding-models,
model-parameters-embed, model-parameters-embed-v4; nova/latest/userguide/embeddings-schema. Read on
2026-11-29.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from app.domain import Call
from app.providers.base import Capabilities, LongText
from app.providers.bodies import count_in, read

#: Embeddings, and the count of tokens where the body has one.
_Rows = tuple[list[msgspec.Raw], int | None]


class _Titan(msgspec.Struct):
    embedding: msgspec.Raw
    inputTextTokenCount: msgspec.Raw = msgspec.Raw()  # noqa: N815 - Amazon's


class _ByType(msgspec.Struct):
    float: list[msgspec.Raw]


class _Cohere(msgspec.Struct):
    embeddings: list[msgspec.Raw] | _ByType


class _NovaEmbedding(msgspec.Struct):
    embedding: msgspec.Raw


class _Nova(msgspec.Struct):
    embeddings: list[_NovaEmbedding]


_titan = msgspec.json.Decoder(_Titan)
_cohere = msgspec.json.Decoder(_Cohere)
_nova = msgspec.json.Decoder(_Nova)


def _titan_body(call: Call) -> dict[str, Any]:
    width = {} if call.dimensions is None else {"dimensions": call.dimensions}
    return {**call.passed, **width, "inputText": call.items[0]}  # normalised unless told otherwise


def _titan_rows(body: bytes | memoryview) -> _Rows:
    found = read(_titan, body, "Titan's embedding")
    return [found.embedding], count_in(found.inputTextTokenCount)


def _cohere_body(call: Call) -> dict[str, Any]:
    width = {} if call.dimensions is None else {"output_dimension": call.dimensions}
    return {
        "input_type": f"search_{call.input_type or 'document'}",  # Cohere wants one
        "truncate": "NONE",  # too long is an error, not a vector of half a text
        **call.passed,
        **width,
        "texts": call.items,
    }


def _cohere_rows(body: bytes | memoryview) -> _Rows:
    found = read(_cohere, body, "Cohere's embeddings").embeddings
    return (found.float if isinstance(found, _ByType) else found), None


#: Without a hint, for an index of anything; a query is put to texts, for that is all there is here.
_PURPOSES = {None: "GENERIC_INDEX", "document": "GENERIC_INDEX", "query": "TEXT_RETRIEVAL"}


def _nova_body(call: Call) -> dict[str, Any]:
    passed = dict(call.passed)
    text = {"truncationMode": passed.pop("truncationMode", "NONE"), "value": call.items[0]}
    width = {} if call.dimensions is None else {"embeddingDimension": call.dimensions}
    purpose = {"embeddingPurpose": _PURPOSES[call.input_type]}
    return {
        "taskType": "SINGLE_EMBEDDING",
        "singleEmbeddingParams": {**purpose, **passed, **width, "text": text},
    }


def _nova_rows(body: bytes | memoryview) -> _Rows:
    return [e.embedding for e in read(_nova, body, "Nova's embeddings").embeddings], None


@dataclass(frozen=True, slots=True)
class Family:
    """Models that share a body; ``rows`` reads the body of an answer."""

    marks: tuple[str, ...]  # in the id of a model
    takes: Capabilities
    body: Callable[[Call], dict[str, Any]]
    rows: Callable[[bytes | memoryview], _Rows]


#: Titan: "Too many input tokens. Max input tokens: 8192, request input token count: …" (400).
_TITAN = Capabilities(max_inputs=1, tokens=False, long_text=LongText.ERROR_THERE)
_COHERE = Capabilities(max_inputs=96, tokens=False, long_text=LongText.TOLD_NOT_TO_CUT)
_NOVA = replace(_TITAN, long_text=LongText.TOLD_NOT_TO_CUT)
#: The first whose mark is in an id is the model's.
FAMILIES = {
    "titan-v2": Family(("titan-embed-text-v2",), _TITAN, _titan_body, _titan_rows),
    "titan-v1": Family(
        ("titan-embed-text-v1", "titan-embed-g1-text"),
        replace(_TITAN, dimensions=False),
        _titan_body,
        _titan_rows,
    ),
    "cohere-v4": Family(("cohere.embed-v4",), _COHERE, _cohere_body, _cohere_rows),
    "cohere-v3": Family(
        ("cohere.embed-",), replace(_COHERE, dimensions=False), _cohere_body, _cohere_rows
    ),
    "nova": Family(("amazon.nova-",), _NOVA, _nova_body, _nova_rows),
}


def family_of(model: str) -> Family | None:
    """The family that the id of a model tells; None: of an ARN, for instance."""
    for family in FAMILIES.values():
        if any(mark in model for mark in family.marks):
            return family
    return None
