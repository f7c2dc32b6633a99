"""Amazon Bedrock: ``/model/{id}/invoke``, whose bodies are those of the model's own maker.

Source: docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html. The bodies
are in `bedrock_models`. Its errors: docs.aws.amazon.com/bedrock/latest/userguide/
troubleshooting-api-error-codes.html, read on 2026-11-29.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from urllib.parse import quote

import msgspec
from marshmallow import fields, validate

from app.config import ProviderSettings, SettingsError
from app.domain import Call, Vectors
from app.errors import (
    CredentialsRefused,
    NotServed,
    ProviderError,
    ProviderUnavailable,
    Rejected,
    Throttled,
)
from app.providers.base import Capabilities, Incoming, Outgoing, WireFormat
from app.providers.bedrock_models import FAMILIES, Family, family_of
from app.providers.bodies import count_in_header, encode, guard, only_text, row_of
from app.providers.options import NO_EFFECT, Option, changes_vector
from app.providers.refusals import UNREADABLE, retry_after

#: Headers that authorize a request for a URL with a body.
Authorize = Callable[[str, bytes], Mapping[str, str]]

_JSON = {"Content-Type": "application/json", "Accept": "application/json"}
_COUNT = "x-amzn-bedrock-input-token-count"
#: Account numbers and the names of keys, which a caller need not know.
_PRIVATE = re.compile(rb"\barn:aws[\w-]*:[^\s\"]+|\bA[A-Z]IA[A-Z0-9]{12,}")
#: What a ValidationException says when not the input is wrong but the model in our settings.
_OUR_MODEL = re.compile(r"model identifier|on-demand throughput|Operation not allowed")


class _Problem(msgspec.Struct):
    type: str = msgspec.field(default="", name="__type")
    message: str = ""


_problem = msgspec.json.Decoder(_Problem)

OPTIONS = {
    "region": Option(
        fields.String(required=True, validate=validate.Regexp(r"^[a-z0-9-]+\Z")), NO_EFFECT
    ),
    # Of models whose id does not tell: an ARN of a profile, a custom or a provisioned model. It
    # says which fields are sent, and their defaults.
    "family": Option(
        fields.String(validate=validate.OneOf(list(FAMILIES))),
        changes_vector(None, lambda _options, model: family_of(model) is None),
    ),
    # Then `api_key` is the secret access key. With neither, what botocore finds: the role of the
    # machine or pod, the environment, `profile` … With `api_key` alone, it is a Bedrock API key.
    "access_key_id": Option(fields.String(validate=validate.Length(min=1)), NO_EFFECT),
    "profile": Option(fields.String(validate=validate.Length(min=1)), NO_EFFECT),
}

#: AWS's names of errors → ours, where the status alone would mislead.
_ERRORS: dict[str, type[ProviderError]] = {
    "ServiceQuotaExceededException": Throttled,  # a 400
    "ThrottlingException": Throttled,
    "ModelNotReadyException": ProviderUnavailable,  # a 429, while the model is loaded
    "ModelErrorException": ProviderUnavailable,  # a 424
    "ExpiredTokenException": CredentialsRefused,  # these are a 400, 401 or 403
    "IncompleteSignatureException": CredentialsRefused,
    "InvalidSignatureException": CredentialsRefused,
    "MissingAuthenticationTokenException": CredentialsRefused,
    "UnrecognizedClientException": CredentialsRefused,
}


def make(settings: ProviderSettings) -> Bedrock:
    return Bedrock(settings, _authorize(settings))


class Bedrock(WireFormat):
    """``POST {base_url}/model/{id}/invoke``, signed or with an API key."""

    capabilities = Capabilities(tokens=False)  # the rest depends on the model

    def __init__(self, settings: ProviderSettings, authorize: Authorize) -> None:
        region = settings.options["region"]
        top = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        self.base_url = f"https://bedrock-runtime.{region}.{top}"
        self._address = (settings.base_url or self.base_url).rstrip("/")
        self._fallback = settings.options.get("family")
        self._name = settings.name
        self._authorize = authorize

    def limits(self, model: str) -> Capabilities:
        return self._family(model).takes

    def build(self, call: Call) -> Outgoing:
        only_text(call)
        # ':' and '/' encoded, as the signature has them.
        path = f"/model/{quote(call.model, safe='')}/invoke"
        body = encode(self._family(call.model).body(call))
        return Outgoing(path, body, self._authorize(self._address + path, body))

    def parse(self, answer: Incoming, call: Call) -> Vectors:
        raw, total = self._family(call.model).rows(answer.body)
        total = total or count_in_header(answer.headers.get(_COUNT, ""))
        return guard([row_of(row) for row in raw], call, total or None)

    def refuse(self, answer: Incoming, secrets: Sequence[str]) -> ProviderError:
        found = _Problem()
        with suppress(*UNREADABLE):
            found = _problem.decode(answer.body)
        # "ValidationException:http://…", "com.amazon.coral.service#ValidationException"
        kind = answer.headers.get("x-amzn-errortype", "").partition(":")[0] or found.type
        kind = kind.rpartition("#")[2]
        if kind in _ERRORS:
            return _ERRORS[kind](f"answered {kind}", retry_after=retry_after(answer.headers))
        refused = super().refuse(
            replace(answer, body=_PRIVATE.sub(b"[redacted]", answer.body)), secrets
        )
        if isinstance(refused, Rejected) and _OUR_MODEL.search(found.message):
            return NotServed("does not serve the model as it is configured")
        return refused

    def _family(self, model: str) -> Family:
        family = family_of(model)
        if family is not None:
            return family
        if self._fallback is None:
            raise SettingsError(
                f"PROVIDERS[{self._name!r}]['family']: must be set, for the id of the model "
                f"{model!r} does not tell (one of {', '.join(FAMILIES)})"
            )
        return FAMILIES[self._fallback]


def _authorize(settings: ProviderSettings) -> Authorize:
    if settings.api_key and "access_key_id" not in settings.options:
        headers = {**_JSON, "Authorization": f"Bearer {settings.api_key}"}
        return lambda url, body: headers
    if "access_key_id" in settings.options and not settings.api_key:
        raise SettingsError(
            f"PROVIDERS[{settings.name!r}]['api_key']: must be the secret access key that belongs "
            "to 'access_key_id'"
        )
    try:
        from app.providers.credentials import aws
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"PROVIDERS[{settings.name!r}]: without an API key, signing needs the package "
            f"{error.name!r}: pip install '.[bedrock]'"
        ) from error
    sign = aws.signer("bedrock", settings.options["region"], aws.credentials(settings))
    return lambda url, body: sign(url, body, _JSON)
