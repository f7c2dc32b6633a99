"""Ollama's /api/embed: docs.ollama.com/api/embed. It embeds text only, one width a model."""

from typing import Any

from tests.providers.fakes.base import Asked, Fake, Refused, items_of, one_of, only, width_of


class OllamaFake(Fake):
    def ask(self, path: str, body: dict[str, Any]) -> Asked:
        if path != "/api/embed":
            raise Refused(404, "404 page not found")
        only(body, {"model", "input"}, {"truncate", "dimensions", "options", "keep_alive"})
        one_of(body, "truncate", (True, False))
        return Asked(items_of(body["input"], False), width_of(body, "dimensions", self.width))

    def answer_to(self, asked, rows, tokens):
        answer = {
            "model": "a-model",
            "embeddings": [row.tolist() for _, row in rows],
            "total_duration": 14143917,
            "load_duration": 1019500,
        }
        if tokens is not None:
            answer["prompt_eval_count"] = tokens
        return answer

    def error(self, status: int, message: str) -> Any:
        return {"error": message}
