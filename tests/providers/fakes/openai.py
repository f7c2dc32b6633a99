"""OpenAI's format and its dialects, by their own references.

The tables are written independently of those of the adapters, so that errors in them show.
"""

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from tests.providers.fakes.base import Asked, Fake, Refused, items_of, one_of, only, width_of
from tests.support.vectors import Item, count_tokens, encode


@dataclass(frozen=True)
class Spec:
    """What a server of OpenAI's format takes."""

    path: str = "/embeddings"
    prefix: str = "/v1"  # of the base_url
    fields: frozenset[str] = frozenset({"encoding_format", "dimensions", "user"})
    encodings: tuple[str, ...] = ("float", "base64")
    encoding_field: str = "encoding_format"
    dimensions_field: str | None = "dimensions"
    tokens: bool = True
    limit: int | None = 2048
    values: dict[str, tuple[Any, ...]] = field(default_factory=dict)  # of other fields
    required: frozenset[str] = frozenset({"model", "input"})
    salts: tuple[str, ...] = ()  # fields that change the vector
    usage: tuple[str, ...] = ("prompt_tokens", "total_tokens")
    error: str = "openai"  # or "detail", "flat", "databricks", "llamacpp"
    batch: int | None = None  # tokens of one input; llama.cpp says 500 to more


class OpenAIFake(Fake):
    """A server of one `Spec`."""

    indexed = True

    def __init__(self, spec: Spec = Spec(), width: int = 8) -> None:
        super().__init__(width)
        self.spec, self.limit = spec, spec.limit

    @property
    def address(self) -> str:
        return super().address + self.spec.prefix

    def ask(self, path: str, body: dict[str, Any]) -> Asked:
        spec = self.spec
        self.check_path(unquote(path))
        only(body, spec.required, spec.fields | spec.values.keys())
        for name, values in spec.values.items():
            one_of(body, name, values)
        encoding = one_of(body, spec.encoding_field, spec.encodings) or "float"
        width = width_of(body, spec.dimensions_field, self.width)
        salt = {name: body[name] for name in spec.salts if name in body}
        items = items_of(body["input"], spec.tokens)
        self.check_batch(items)
        return Asked(items, width, json.dumps(salt) if salt else "", encoding)

    def check_path(self, path: str) -> None:
        if path != self.spec.prefix + self.spec.path:
            raise Refused(404, f"Invalid URL (POST {path})")

    def check_batch(self, items: list[Item]) -> None:
        """In llama.cpp's own words, as its server said them (build 0.10434)."""
        for tokens in map(count_tokens, items):
            if self.spec.batch is not None and tokens > self.spec.batch:
                raise Refused(
                    500,
                    f"input ({tokens} tokens) is too large to process. increase the physical "
                    f"batch size (current batch size: {self.spec.batch})",
                )

    def answer_to(self, asked, rows, tokens):
        base64 = asked.encoding == "base64"
        answer = {
            "object": "list",
            "data": [
                {
                    "object": "embedding",
                    "index": index,
                    "embedding": encode(row) if base64 else row.tolist(),
                }
                for index, row in rows
            ],
            "model": "a-model",
        }
        if tokens is not None:
            answer["usage"] = dict.fromkeys(self.spec.usage, tokens)
        return answer

    def error(self, status: int, message: str) -> Any:
        match self.spec.error:
            case "detail":
                return {"detail": message}
            case "pydantic":
                return {"detail": [{"type": "x", "loc": ["body", "x"], "msg": message}]}
            case "flat":
                return {"object": "error", "message": message, "type": "invalid", "code": status}
            case "databricks":
                return {"error_code": "BAD_REQUEST", "message": message}
            case "llamacpp":
                return {"error": {"code": status, "message": message, "type": "server_error"}}
            case "tei":
                return {"message": message, "code": status, "type": "Validation"}
        return {"error": {"message": message, "type": "x", "param": None, "code": str(status)}}
