"""Azure OpenAI: OpenAI's bodies at Azure's addresses, with a key or an Entra ID token.

Source: learn.microsoft.com/azure/ai-services/openai/reference (by deployment, with an API version)
and …/api-version-lifecycle (v1: without one). A "model" here is the name of a deployment. For
credentials: learn.microsoft.com/python/api/azure-identity/azure.identity.defaultazurecredential,
read in November 2026. The body and its limits, which are OpenAI's:
learn.microsoft.com/azure/foundry/reference/rest/embeddings-create-embedding, read on 2026-11-29.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from marshmallow import fields, validate

from app.config import ProviderSettings, SettingsError
from app.errors import CredentialsRefused
from app.providers.credentials.refreshing import Refreshing, sendable
from app.providers.dialect import address
from app.providers.kinds import openai
from app.providers.kinds.openai import OPENAI, OpenAI
from app.providers.options import NO_EFFECT, Option

OPTIONS = {
    **openai.OPTIONS,
    "base_url": Option(address(), NO_EFFECT),
    # For instance "2024-10-21": /openai/deployments/… with that version. Without: /openai/v1.
    # It is of the API, not of the model.
    "api_version": Option(fields.String(validate=validate.Regexp(r"^[\w.-]+\Z")), NO_EFFECT),
    # "entra": a token of the environment's identity (azure-identity, DefaultAzureCredential).
    "auth": Option(fields.String(validate=validate.OneOf(["key", "entra"])), NO_EFFECT),
    "scope": Option(fields.String(validate=validate.URL(schemes={"https"})), NO_EFFECT),
}
_SCOPE = "https://cognitiveservices.azure.com/.default"
_V1 = "/openai/v1"


def make(settings: ProviderSettings) -> Azure:
    return Azure(settings, _entra(settings) if settings.options.get("auth") == "entra" else None)


class Azure(OpenAI):
    """``api-key``, or the bearer token of a credential that renews itself."""

    def __init__(self, settings: ProviderSettings, token: Refreshing[str] | None) -> None:
        version = settings.options.get("api_version")
        path = f"{_V1}/embeddings"
        if version:
            path = f"/openai/deployments/{{model}}/embeddings?api-version={version}"
        for given in (_V1, "/openai"):  # Azure's portal shows addresses that go further
            if (settings.base_url or "").rstrip("/").endswith(given):
                path = path.removeprefix(given)
        super().__init__(settings, replace(OPENAI, base_url=None, path=path))
        self._token = token
        self._headers = {"api-key": settings.api_key} if settings.api_key else {}

    def headers(self) -> Mapping[str, str]:
        if self._token is not None:
            return {"Authorization": f"Bearer {self._token.get()}"}
        return self._headers


def _way(settings: ProviderSettings) -> dict[str, Any]:
    """The egress proxy and the certificates in azure-core's words.

    Only for https: the address that gives a machine its identity is plain HTTP, and reached from
    that machine alone.
    """
    way: dict[str, Any] = {}
    if settings.proxy:
        way["proxies"] = {"https": settings.proxy}
    if settings.ca_bundle:
        way["connection_verify"] = settings.ca_bundle
    return way


def _entra(settings: ProviderSettings) -> Refreshing[str]:
    try:
        identity = importlib.import_module("azure.identity")
        core = importlib.import_module("azure.core.exceptions")
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"PROVIDERS[{settings.name!r}]['auth']: 'entra' needs the package 'azure-identity': "
            "pip install '.[azure]'"
        ) from error
    credential = identity.DefaultAzureCredential(
        connection_timeout=10, read_timeout=10, process_timeout=10, retry_total=2, **_way(settings)
    )
    scope = settings.options.get("scope", _SCOPE)

    def fetch() -> tuple[str, float]:
        try:
            token = credential.get_token(scope)
        except core.ClientAuthenticationError as error:
            raise CredentialsRefused("got no token for us from Entra ID") from error
        return sendable(token.token), float(token.expires_on)  # seconds since 1970

    return Refreshing(fetch)
