"""Cohere's embed API v2: docs.cohere.com/reference/embed."""

from typing import Any

from tests.providers.fakes.base import Asked, Fake, Refused, items_of, one_of, only, width_of
from tests.support.vectors import encode

TYPES = ("search_document", "search_query", "classification", "clustering", "image")


class CohereFake(Fake):
    limit = 96

    def ask(self, path: str, body: dict[str, Any]) -> Asked:
        if path != "/v2/embed":
            raise Refused(404, "not found")
        only(
            body,
            {"model", "texts", "input_type"},
            {"embedding_types", "output_dimension", "truncate", "max_tokens", "priority"},
        )
        one_of(body, "input_type", TYPES)
        one_of(body, "truncate", ("NONE", "START", "END"))
        types = body.get("embedding_types", ["float"])
        if not isinstance(types, list) or not set(types) <= {"float", "base64"}:
            raise Refused(400, "invalid embedding_types")
        width = width_of(body, "output_dimension", self.width)
        return Asked(items_of(body["texts"], False), width, body["input_type"], types[0])

    def answer_to(self, asked, rows, tokens):
        base64 = asked.encoding == "base64"
        values = [encode(row) if base64 else row.tolist() for _, row in rows]
        answer = {
            "id": "5807ee2e",
            "embeddings": {asked.encoding: values},
            "texts": asked.items,
            "meta": {"api_version": {"version": "2"}},
            "response_type": "embeddings_by_type",
        }
        if tokens is not None:
            answer["meta"]["billed_units"] = {"input_tokens": tokens}
        return answer

    def error(self, status: int, message: str) -> Any:
        return {"id": "7b9a2c0e", "message": message}
