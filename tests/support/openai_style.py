"""OpenAI's answer to a request for embeddings, as a pure function."""

from typing import Any

from tests.support.vectors import Item, count_tokens, encode, vector

KNOWN = {"model", "input", "encoding_format", "dimensions", "user"}
EXTRA = {"task", "truncate"}  # passed on by some models of the tests; a task changes the vector


class Refused(Exception):
    """The request is refused, in OpenAI's format."""

    def __init__(
        self, status: int, message: str, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {
            "error": {
                "message": message,
                "type": "invalid_request_error",
                "param": param,
                "code": code,
            }
        }


def items_of(value: str | list) -> list[Item]:
    """Return the items of an input in any of its four shapes."""
    if isinstance(value, str):
        return [value]
    return [value] if value and isinstance(value[0], int) else value


def answer(body: dict[str, Any], width: int, strict: bool) -> dict[str, Any]:
    """Return one embedding for each item, in the requested encoding; usage counts words or ids."""
    if strict:
        _refuse_what_is_unknown(body, width)
    items = items_of(body["input"])
    width = body.get("dimensions") or width
    vectors = [vector(item, width, body.get("task", "")) for item in items]
    base64 = body.get("encoding_format") == "base64"
    tokens = sum(map(count_tokens, items))
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": encode(values) if base64 else values.tolist(),
            }
            for index, values in enumerate(vectors)
        ],
        "model": body["model"],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _refuse_what_is_unknown(body: dict[str, Any], width: int) -> None:
    for name, value in body.items():
        if name not in KNOWN | EXTRA:
            raise Refused(400, f"Unrecognized request argument supplied: {name}", name)
        if value is None:
            raise Refused(400, f"None is not of type for '{name}'", name)
    if body.get("encoding_format", "float") not in ("float", "base64"):
        raise Refused(400, "Invalid value for 'encoding_format'", "encoding_format")
    if body.get("dimensions", 1) > width:
        message = f"Invalid value for 'dimensions' = {body['dimensions']}. Must be at most {width}."
        raise Refused(400, message, "dimensions")
