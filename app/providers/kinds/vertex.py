"""Google's Vertex AI: ``publishers/google/models/{model}:predict``, with Google's own credentials.

Source: cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api; for
gemini-embedding-2, which has ``:embedContent`` instead, docs.cloud.google.com/vertex-ai/
generative-ai/docs/models/gemini/embedding-2 and the reference of models.embedContent. Read in
November 2026; `autoTruncate`,
docs.cloud.google.com/gemini-enterprise-agent-platform/reference/rest/
Shared.Types/TextEmbeddingPredictionParams, on 2026-11-29.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import google.auth
import msgspec
from google.auth import exceptions
from marshmallow import ValidationError, fields, validate

from app.config import ProviderSettings, SettingsError
from app.domain import Call, Vectors
from app.errors import CredentialsRefused, ProviderUnavailable
from app.providers.base import Capabilities, Incoming, LongText, Outgoing
from app.providers.bodies import count_in, encode, guard, only_text, read, row_of
from app.providers.credentials.refreshing import Refreshing, sendable
from app.providers.kinds.gemini import SECOND, TASKS, Google, of_length_1, with_task
from app.providers.options import NO_EFFECT, Option
from app.providers.refusals import UNREADABLE

_SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
#: Seconds that Google's token server, or the metadata server, has for an answer.
_TOKEN_TIMEOUT = 30.0
#: Models that take one text a call ("supports one instance per request").
_ONE_BY_ONE = "gemini-embedding"
#: Fields a caller may pass on that belong to each text; others are parameters of the call.
_OF_INSTANCES = {"title", "task_type"}


class _KeyFile(msgspec.Struct):
    client_email: str
    private_key: str
    token_uri: str


def _key_file(path: str) -> None:
    try:
        msgspec.json.decode(Path(path).read_bytes(), type=_KeyFile)
    except (OSError, *UNREADABLE) as error:
        raise ValidationError(f"{path!r} is not the key file of a service account") from error


_OPTIONS: dict[str, fields.Field[Any]] = {
    "project": fields.String(required=True, validate=validate.Length(min=1)),
    # "us-central1", "europe-west4" …, or "global".
    "location": fields.String(required=True, validate=validate.Regexp(r"^[a-z0-9-]+\Z")),
    # Of a service account. Without it, what Google's libraries find ("Application Default
    # Credentials"): the machine's own account, or the file in GOOGLE_APPLICATION_CREDENTIALS.
    "key_file": fields.String(validate=_key_file),
    "api_key": fields.Raw(
        allow_none=True,
        validate=validate.Equal(
            None, error="is not for vertex, which takes Google's credentials: see 'key_file'"
        ),
    ),
}
OPTIONS = {name: Option(check, NO_EFFECT) for name, check in _OPTIONS.items()}


def make(settings: ProviderSettings) -> Vertex:
    return Vertex(settings, Refreshing(_tokens(settings)).get)


class _Values(msgspec.Struct):
    values: msgspec.Raw


class _Embedding(_Values):
    statistics: msgspec.Raw = msgspec.Raw()


class _Prediction(msgspec.Struct):
    embeddings: _Embedding


class _Answer(msgspec.Struct):
    predictions: list[_Prediction]


_answer = msgspec.json.Decoder(_Answer)


class _Embedded(msgspec.Struct):
    embedding: _Values
    usageMetadata: msgspec.Raw = msgspec.Raw()  # noqa: N815


_embedded = msgspec.json.Decoder(_Embedded)


class Vertex(Google):
    """``POST {base_url}/projects/…/models/{model}:predict``; ``token`` gives an access token."""

    capabilities = Capabilities(
        max_inputs=250, max_tokens=20_000, tokens=False, long_text=LongText.TOLD_NOT_TO_CUT
    )

    def __init__(self, settings: ProviderSettings, token: Callable[[], str]) -> None:
        project, location = settings.options["project"], settings.options["location"]
        host = "aiplatform" if location == "global" else f"{location}-aiplatform"
        self.base_url = f"https://{host}.googleapis.com/v1"
        self._models = f"/projects/{quote(project)}/locations/{location}/publishers/google/models"
        self._token = token

    def limits(self, model: str) -> Capabilities:
        if model.startswith(_ONE_BY_ONE):
            return replace(self.capabilities, max_inputs=1)
        return self.capabilities

    def build(self, call: Call) -> Outgoing:
        only_text(call)
        method, body = (
            ("embedContent", self._content(call))
            if call.model.startswith(SECOND)
            else ("predict", self._instances(call))
        )
        return Outgoing(
            f"{self._models}/{quote(call.model, safe='@')}:{method}",
            encode(body),
            {"Authorization": f"Bearer {self._token()}"},
        )

    def _content(self, call: Call) -> dict[str, Any]:
        config: dict[str, Any] = {"autoTruncate": False, **call.passed}
        if call.dimensions is not None:
            config["outputDimensionality"] = call.dimensions
        (text,) = with_task(call.items, call.input_type, config)
        return {"content": {"parts": [{"text": text}]}, "embedContentConfig": config}

    def _instances(self, call: Call) -> dict[str, Any]:
        common: dict[str, Any] = {}
        # The default cuts what is too long, silently: the vector of half a text is a wrong one.
        parameters: dict[str, Any] = {"autoTruncate": False}
        if call.input_type is not None:
            common["task_type"] = TASKS[call.input_type]
        if call.dimensions is not None:
            parameters["outputDimensionality"] = call.dimensions
        for name, value in call.passed.items():
            (common if name in _OF_INSTANCES else parameters)[name] = value
        instances = [{**common, "content": item} for item in call.items]
        return {"instances": instances, "parameters": parameters}

    def parse(self, answer: Incoming, call: Call) -> Vectors:
        if call.model.startswith(SECOND):
            one = read(_embedded, answer.body, "Vertex AI's embedding")
            total = count_in(one.usageMetadata, "promptTokenCount", "totalTokenCount")
            return of_length_1(guard([row_of(one.embedding.values)], call, total or None), call)
        found = read(_answer, answer.body, "Vertex AI's list of predictions").predictions
        rows = [row_of(prediction.embeddings.values) for prediction in found]
        counts = [count_in(prediction.embeddings.statistics, "token_count") for prediction in found]
        tokens = [count for count in counts if count]
        counted = tokens if len(tokens) == len(counts) else None
        return of_length_1(guard(rows, call, None, counted), call)


def _tokens(settings: ProviderSettings) -> Callable[[], tuple[str, float]]:
    """A way to get access tokens, each with the time at which it expires."""
    # Imported here: settings are checked where nothing may be loaded that opens sockets.
    from google.auth.transport.requests import Request

    from app.providers.http.transport import session

    request: Any = partial(Request(session(settings)), timeout=_TOKEN_TIMEOUT)
    credentials = _of_key_file(settings)

    def fetch() -> tuple[str, float]:
        nonlocal credentials
        try:
            if credentials is None:  # not at the start: this may ask the network who we are
                credentials, _ = google.auth.default(scopes=_SCOPES, request=request)
            credentials.refresh(request)
        except exceptions.GoogleAuthError as error:
            if isinstance(error, exceptions.TransportError) or error.retryable:
                raise ProviderUnavailable("gave us no access token") from error
            raise CredentialsRefused("gave us no access token: wrong or no credentials") from error
        expiry = credentials.expiry  # UTC, without saying so
        expires = expiry.replace(tzinfo=UTC).timestamp() if expiry else math.inf
        return sendable(credentials.token), expires

    return fetch


def _of_key_file(settings: ProviderSettings) -> Any:
    from google.oauth2 import service_account

    path = settings.options.get("key_file")
    if path is None:
        return None
    load: Any = service_account.Credentials.from_service_account_file
    try:
        return load(path, scopes=_SCOPES)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"PROVIDERS[{settings.name!r}]['key_file']: the private key in {path!r} cannot be read"
        ) from error
