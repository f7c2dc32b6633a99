"""JSON Schemas of the OpenAPI document's responses."""

from __future__ import annotations

from typing import Any

_STRING: dict[str, Any] = {"type": "string"}
_VECTOR = {
    "oneOf": [
        {"type": "array", "items": {"type": "number"}, "title": "float"},
        {"type": "string", "contentEncoding": "base64", "title": "base64"},
    ]
}
_NUMBER = {"type": "integer", "minimum": 0}
_SECONDS = {"type": "number", "description": "Seconds since 1970."}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list_of(name: str) -> dict[str, Any]:
    rows = {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}
    return _object(object={"const": "list"}, data=rows)


def _array(text: str) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "object"}, "description": text}


_WORKERS = {
    **_object(
        answered={"type": "array", "items": _NUMBER},
        silent={"type": "array", "items": _NUMBER},
    ),
    "description": "Process ids of the workers that are in it, and of those that gave no answer.",
}

#: Schemas of responses, by name.
SCHEMAS = {
    "EmbeddingResponse": _object(
        object={"const": "list"},
        data={
            "type": "array",
            "description": "One for each input, in its order.",
            "items": _object(object={"const": "embedding"}, index=_NUMBER, embedding=_VECTOR),
        },
        model={"type": "string", "description": "The one asked for."},
        usage=_object(prompt_tokens=_NUMBER, total_tokens=_NUMBER),
    ),
    "Model": _object(
        id=_STRING,
        object={"const": "model"},
        created=_NUMBER,
        owned_by=_STRING,
        dimensions={"type": ["integer", "null"], "description": "Width of its vectors."},
        space={"type": "string", "description": "Its vector space: never mix two in one index."},
    ),
    "ModelList": _list_of("Model"),
    "Provider": {"type": "object", "description": "A deployment as this worker sees it."},
    "ProviderList": _list_of("Provider"),
    "Usage": {"type": "object", "description": "A row: what it is of, and its numbers."},
    "UsageList": _object(
        object={"const": "list"},
        since=_STRING,
        until=_STRING,
        data={"type": "array", "items": {"$ref": "#/components/schemas/Usage"}},
    ),
    "Now": {
        **_object(
            at=_SECONDS,
            until={**_SECONDS, "description": "Where the next series begins: `since` of a poll."},
            workers=_WORKERS,
            figures={"type": "object", "description": "Of the last half minute, and of today."},
            errors=_array("Errors of the last hour by side and code."),
            series={"type": "object", "description": "Sums by bucket of `step` seconds."},
            marks_since={
                **_SECONDS,
                "description": "The marks are all since then: some arrive late.",
            },
            marks=_array("When settings were reloaded, and deployments ejected."),
            models=_array("Models with their deployments, as all workers see them."),
        ),
        "description": "Figures of all workers.",
    },
    "RecentRequestList": {
        **_object(workers=_WORKERS, data=_array("The last requests: how each ended, in brief.")),
        "description": "At most 50 requests of the last 1,000 of each worker.",
    },
    "RequestSteps": {
        **_object(
            workers=_WORKERS,
            data=_array("What happened to each request with this id, the newest first."),
        ),
        "description": "What happened to a request, step by step. It has no inputs.",
    },
    "MistakeList": _object(object={"const": "list"}, data={"type": "array", "items": _STRING}),
    "Status": {**_object(status=_STRING), "description": "With the models that cannot be served."},
    "Error": _object(
        error=_object(
            message=_STRING,
            type=_STRING,
            param={"type": ["string", "null"]},
            code={"type": ["string", "null"]},
        )
    ),
}
