"""Google's Vertex AI: ``publishers/google/models/{model}:predict``, with Google's own credentials.

Source: cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api.
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
from app.providers.base import (
    UNREADABLE,
    Capabilities,
    Incoming,
    Outgoing,
    guard,
    only_text,
    read,
    row_of,
)
from app.providers.credentials import Refreshing
from app.providers.gemini import TASKS, Google, of_length_1

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


OPTIONS: dict[str, Any] = {
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


def make(settings: ProviderSettings) -> Vertex:
    return Vertex(settings, Refreshing(_tokens(settings)).get)


class _Statistics(msgspec.Struct):
    token_count: int = 0


class _Embedding(msgspec.Struct):
    values: msgspec.Raw
    statistics: _Statistics = msgspec.field(default_factory=_Statistics)


class _Prediction(msgspec.Struct):
    embeddings: _Embedding


class _Answer(msgspec.Struct):
    predictions: list[_Prediction]


_answer = msgspec.json.Decoder(_Answer)
_encode = msgspec.json.Encoder().encode


class Vertex(Google):
    """``POST {base_url}/projects/…/models/{model}:predict``; ``token`` gives an access token."""

    capabilities = Capabilities(max_inputs=250, max_tokens=20_000, tokens=False)

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
        return Outgoing(
            f"{self._models}/{quote(call.model, safe='@')}:predict",
            _encode({"instances": instances, "parameters": parameters}),
            {"Authorization": f"Bearer {self._token()}"},
        )

    def parse(self, answer: Incoming, call: Call) -> Vectors:
        found = read(_answer, answer.body, "Vertex AI's list of predictions").predictions
        rows = [row_of(prediction.embeddings.values) for prediction in found]
        tokens = [prediction.embeddings.statistics.token_count for prediction in found]
        counted = all(count > 0 for count in tokens)
        return of_length_1(guard(rows, call, None, tokens if counted else None), call)


def _tokens(settings: ProviderSettings) -> Callable[[], tuple[str, float]]:
    """A way to get access tokens, each with the time at which it expires."""
    # Imported here: settings are checked where nothing may be loaded that opens sockets.
    from google.auth.transport.requests import Request

    from app.providers.transport import session

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
        return credentials.token, expiry.replace(tzinfo=UTC).timestamp() if expiry else math.inf

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
