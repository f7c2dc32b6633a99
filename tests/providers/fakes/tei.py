"""Text Embeddings Inference's /embed: its openapi.json. One model, so no name of it."""

from typing import Any

from tests.providers.fakes.base import Asked, Fake, Refused, items_of, one_of, only, width_of

PROMPTS = ("query", "passage")


class TeiFake(Fake):
    limit = 32

    def ask(self, path: str, body: dict[str, Any]) -> Asked:
        if path != "/embed":
            raise Refused(404, "")
        others = {"truncate", "truncation_direction", "prompt_name", "normalize", "dimensions"}
        only(body, {"inputs"}, others)
        one_of(body, "truncate", (True, False))
        one_of(body, "normalize", (True, False))
        prompt = one_of(body, "prompt_name", PROMPTS) or ""
        items = items_of(body["inputs"], True)
        return Asked(items, width_of(body, "dimensions", self.width), prompt)

    def answer_to(self, asked, rows, tokens):
        return [row.tolist() for _, row in rows]

    def headers_of(self, tokens: int | None) -> dict[str, str]:
        counted = {} if tokens is None else {"x-compute-tokens": str(tokens)}
        return {"x-compute-type": "cpu", "x-compute-characters": "99", **counted}

    def error(self, status: int, message: str) -> Any:
        return {"error": message, "error_type": "Validation"}
