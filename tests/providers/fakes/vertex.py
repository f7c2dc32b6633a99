"""Google's Vertex AI, and the server where a service account gets its tokens (RFC 7523)."""

import json
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt

from tests.providers.fakes.base import Asked, Refused
from tests.providers.fakes.gemini import SHORT, TASKS, GoogleFake, known, text, width, with_task
from tests.support.upstream import Exchange

PROJECT, LOCATION = "a-project", "europe-west4"
ACCOUNT = "proxy@a-project.iam.gserviceaccount.com"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
#: What google-auth signs for, whatever the address of the token server.
AUDIENCE = "https://oauth2.googleapis.com/token"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_MODELS = f"/v1/projects/{PROJECT}/locations/{LOCATION}/publishers/google/models/"
#: Models that take one instance a call.
ONE = "gemini-embedding-001"


@cache
def key_of(name: str) -> tuple[str, str]:
    """A private and a public key in PEM, the same for the same name."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


def key_file(path: Path, token_uri: str, key: str = "right") -> str:
    """The key file of a service account, as the console gives it."""
    content = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "1",
        "private_key": key_of(key)[0],
        "client_email": ACCOUNT,
        "client_id": "2",
        "token_uri": token_uri,
    }
    path.write_text(json.dumps(content))
    return str(path)


class VertexFake(GoogleFake):
    """``POST …:predict`` with a token from ``POST /token``."""

    limit = 250

    def __init__(self, width: int = 8) -> None:
        super().__init__(width)
        self.tokens: list[str] = []  # issued; the last one is valid
        self.token_life = 3600
        self.embeds_content = False
        self.token_refusal: tuple[int, Any] | None = None

    @property
    def address(self) -> str:
        return super().address + "/v1"

    @property
    def token_uri(self) -> str:
        return f"http://127.0.0.1:{self.port}/token"

    def wait_for_calls(self, number, seconds=20):
        return [c for c in super().wait_for_calls(number, seconds) if c.path != "/token"]

    def authorized(self, headers: Any) -> bool:
        return bool(self.tokens) and headers.get("authorization") == f"Bearer {self.tokens[-1]}"

    def ask(self, path: str, body: dict[str, Any]) -> Asked:
        model, _, method = unquote(path).removeprefix(_MODELS).partition(":")
        wanted = "embedContent" if model.startswith("gemini-embedding-2") else "predict"
        if not unquote(path).startswith(_MODELS) or method != wanted:
            raise Refused(404, f"Publisher Model `projects/{PROJECT}/x` was not found.")
        if method == "embedContent":
            return self._content(body, model)
        known(body, {"instances", "parameters"}, "")
        given = known(body.get("parameters", {}), {"autoTruncate", "outputDimensionality"}, "p")
        if given.get("autoTruncate") is not False:
            raise AssertionError("a text that is too long would be cut silently")
        instances = body["instances"]
        if model == ONE and len(instances) > 1:
            raise Refused(400, f"The model {ONE} only supports one instance per request.")
        asked = [self._ask(instance) for instance in instances]
        if len({task for _, task in asked}) > 1:
            raise AssertionError("the instances of one call differ")
        wide = width(given.get("outputDimensionality", self.width), self.width)
        return Asked([item for item, _ in asked], wide, asked[0][1])

    def _content(self, body: dict[str, Any], model: str) -> Asked:
        """EmbedContentRequest: one text, and fields of the call in a configuration."""
        known(body, {"content", "embedContentConfig"}, "")
        given = known(body["embedContentConfig"], {"autoTruncate", "outputDimensionality"}, "c")
        if given.get("autoTruncate") is not False:
            raise AssertionError("a text that is too long would be cut silently")
        (part,) = known(body["content"], {"parts", "role"}, "content")["parts"]
        item, task = with_task(text(known(part, {"text"}, "part")["text"]), model)
        wide = width(given.get("outputDimensionality", self.width), self.width)
        self.embeds_content = True
        return Asked([item], wide, task)

    def _ask(self, instance: Any) -> tuple[str, str]:
        known(instance, {"content", "task_type", "title"}, "instances[0]")
        task = instance.get("task_type", "")
        if "task_type" in instance and task not in TASKS:
            raise Refused(
                400, f"Unable to submit request because the task_type {task!r} is unknown"
            )
        return text(instance.get("content")), task

    def answer_to(self, asked, rows, tokens):
        length = SHORT if asked.width < self.width else 1
        if self.embeds_content:
            answer: dict[str, Any] = {}
            if rows:
                answer["embedding"] = {"values": (rows[0][1] * length).tolist()}
            if tokens is not None:
                answer["usageMetadata"] = {"promptTokenCount": tokens, "totalTokenCount": tokens}
            return answer
        predictions = []
        for index, row in rows:
            embeddings: dict[str, Any] = {"values": (row * length).tolist()}
            if tokens is not None and index < len(asked.items):
                count = max(1, len(asked.items[index].split()))
                embeddings["statistics"] = {"truncated": False, "token_count": count}
            predictions.append({"embeddings": embeddings})
        count = sum(map(len, asked.items))
        return {"predictions": predictions, "metadata": {"billableCharacterCount": count}}

    # The server of tokens

    def _requests(self, connection):
        for request in super()._requests(connection):
            if request.path != "/token":
                yield request
                continue
            form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
            yield type(request)(
                request.method, request.path, request.headers, json.dumps(form).encode()
            )

    def _respond(self, exchange: Exchange) -> None:
        if exchange.call.path != "/token":
            super()._respond(exchange)
        elif self.token_refusal is not None:
            exchange.reply(*self.token_refusal)
        else:
            exchange.reply(*self._token(exchange.call.body))

    def _token(self, form: dict[str, str]) -> tuple[int, Any]:
        try:
            assert form["grant_type"] == _GRANT
            claims = jwt.decode(form["assertion"], key_of("right")[1], audience=AUDIENCE)
            assert (claims["iss"], claims["scope"]) == (ACCOUNT, SCOPE)
        except ValueError:  # developers.google.com/identity/protocols/oauth2/service-account
            return 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
        self.tokens.append(f"ya29.token-{len(self.tokens) + 1}")
        answer = {"access_token": self.tokens[-1], "token_type": "Bearer"}
        return 200, {**answer, "expires_in": self.token_life}
