"""Azure OpenAI: learn.microsoft.com/azure/ai-services/openai/reference."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.providers.fakes.base import Refused
from tests.providers.fakes.openai import OpenAIFake, Spec

FIELDS = frozenset({"encoding_format", "dimensions", "user", "input_type"})
TOKEN = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2lnbmF0dXJl"


class AzureFake(OpenAIFake):
    """With an API version, the deployment is in the path; on the v1 path it is in the body."""

    def __init__(self, version: str | None = None, width: int = 8) -> None:
        required = frozenset({"input"} if version else {"input", "model"})
        super().__init__(Spec(prefix="", fields=FIELDS, required=required), width)
        self.version = version

    def authorized(self, headers) -> bool:
        given = headers.get("api-key"), headers.get("authorization")
        return given in ((self.api_key, None), (None, f"Bearer {TOKEN}"))

    def check_path(self, path: str) -> None:
        parts = urlsplit(path)
        if self.version is None:
            right = path == "/openai/v1/embeddings"
        else:
            right = parts.path == "/openai/deployments/a-model/embeddings"
            right &= parse_qs(parts.query) == {"api-version": [self.version]}
        if not right:
            raise Refused(404, "The API deployment for this resource does not exist.")

    def error(self, status: int, message: str) -> Any:
        return {"error": {"code": str(status), "message": message}}
