"""Google's Gemini API, and Google's errors (google.rpc.Status)."""

import re
from typing import Any
from urllib.parse import unquote

from tests.providers.fakes.base import Asked, Fake, Refused

#: ai.google.dev/api/embeddings, EmbedContentRequest and TaskType.
FIELDS = {"model", "content", "taskType", "title", "outputDimensionality"}
TASKS = {
    "RETRIEVAL_QUERY",
    "RETRIEVAL_DOCUMENT",
    "SEMANTIC_SIMILARITY",
    "CLASSIFICATION",
    "CLUSTERING",
    "QUESTION_ANSWERING",
    "FACT_VERIFICATION",
    "CODE_RETRIEVAL_QUERY",
}
#: google/rpc/code.proto, in HTTP's numbers.
STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
WRONG_KEY = "API key not valid. Please pass a valid API key."
_TYPE = "type.googleapis.com/google.rpc."
#: Length of a vector that was cut; less than 1.
SHORT = 0.7


class GoogleFake(Fake):
    """What Google's fakes have in common."""

    def error(self, status: int, message: str) -> Any:
        error: dict[str, Any] = {"code": status, "message": message}
        error["status"] = STATUSES.get(status, "UNKNOWN")
        if message == WRONG_KEY:
            info = {"reason": "API_KEY_INVALID", "domain": "googleapis.com"}
            error["details"] = [{"@type": _TYPE + "ErrorInfo", **info}]
        return {"error": error}


def known(found: Any, names: set[str], place: str) -> dict[str, Any]:
    """An object with no field but these."""
    if not isinstance(found, dict):
        raise Refused(400, f"Invalid value at '{place}' (an object is wanted).")
    for name in found.keys() - names:
        raise Refused(
            400,
            f"Invalid JSON payload received. Unknown name \"{name}\" at '{place}': "
            "Cannot find field.",
        )
    return found


def text(found: Any) -> str:
    """A text to be embedded."""
    if not isinstance(found, str) or not found:
        raise Refused(400, "The text content is empty.")
    return found


def width(found: Any, widest: int) -> int:
    """An output dimensionality."""
    if not isinstance(found, int) or not 1 <= found <= widest:
        raise Refused(400, f"Output dimensionality must be between 1 and {widest}.")
    return found


def with_task(found: str, model: str) -> tuple[str, str]:
    """What gemini-embedding-2 reads in a text: the text itself, and its task.

    Source: ai.google.dev/gemini-api/docs/embeddings, "Task types with Embeddings 2".
    """
    shapes = [r"(task: [^|]*) \| query: (.*)", r"(title: [^|]*) \| text: (.*)"]
    for shape in shapes if "embedding-2" in model else []:
        if match := re.fullmatch(shape, found, re.DOTALL):
            return match[2], match[1]
    return found, ""


class GeminiFake(GoogleFake):
    """``POST /v1beta/models/{model}:batchEmbedContents``."""

    limit = 100

    @property
    def address(self) -> str:
        return super().address + "/v1beta"

    def authorized(self, headers: Any) -> bool:
        if headers.get("x-goog-api-key") != self.api_key:
            raise Refused(400, WRONG_KEY)  # as Google does: not a 401
        return True

    def ask(self, path: str, body: dict[str, Any]) -> Asked:
        found = re.fullmatch(r"/v1beta/(models/[^/:]+):batchEmbedContents", unquote(path))
        if not found:
            raise Refused(404, "Requested entity was not found.")
        requests = known(body, {"requests"}, "")["requests"]
        asked = [self._ask(request, found[1]) for request in requests]
        if len({(wide, task) for _, wide, task in asked}) > 1:
            raise AssertionError("the requests of one call differ")
        return Asked([item for item, _, _ in asked], asked[0][1], asked[0][2])

    def _ask(self, request: Any, model: str) -> tuple[str, int, str]:
        known(request, FIELDS, "requests[0]")
        if request.get("model") != model:
            raise Refused(400, "The model in each request must match the model of the batch.")
        task = request.get("taskType", "")
        if "taskType" in request and (task not in TASKS or "embedding-2" in model):
            raise Refused(400, f"Invalid value at 'requests[0].task_type': {task!r}")
        parts = known(request.get("content"), {"parts", "role"}, "content").get("parts")
        if not isinstance(parts, list) or len(parts) != 1:
            raise AssertionError("several parts of one content become one vector")
        item = text(known(parts[0], {"text"}, "content.parts[0]").get("text"))
        item, task_in_text = with_task(item, model)
        task = task or task_in_text
        return item, width(request.get("outputDimensionality", self.width), self.width), task

    def answer_to(self, asked, rows, tokens):
        length = SHORT if asked.width < self.width else 1
        answer = {"embeddings": [{"values": (row * length).tolist()} for _, row in rows]}
        if tokens is not None:
            details = [{"modality": "TEXT", "tokenCount": tokens}]
            answer["usageMetadata"] = {"promptTokenCount": tokens, "promptTokenDetails": details}
        return answer
