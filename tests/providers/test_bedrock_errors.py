"""Errors of AWS."""

import json

import pytest

from app.errors import CredentialsRefused, NotServed, ProviderUnavailable, Rejected, Throttled
from app.providers.base import Incoming
from tests.providers.contract import wire_of
from tests.providers.fakes.bedrock import ACCESS_KEY


def refusal(status, kind="", message="no", typed="header", headers=(), secrets=()):
    namespaced = {"header": f"{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/"}
    found = dict(headers)
    body = {"message": message}
    if typed == "header":
        found["x-amzn-errortype"] = namespaced["header"]
    else:
        body["__type"] = typed + kind
    wire = wire_of(kind="bedrock", region="us-east-1", api_key="ABSK-1")
    return wire.refuse(Incoming(status, found, json.dumps(body).encode()), secrets)


# docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html, "Errors", and
# …/CommonErrors.html.
ERRORS = [
    (400, "ValidationException", Rejected),
    (400, "ServiceQuotaExceededException", Throttled),
    (400, "IncompleteSignatureException", CredentialsRefused),
    (400, "ExpiredTokenException", CredentialsRefused),
    (403, "AccessDeniedException", CredentialsRefused),
    (403, "UnrecognizedClientException", CredentialsRefused),
    (403, "InvalidSignatureException", CredentialsRefused),
    (403, "ExpiredTokenException", CredentialsRefused),
    (404, "ResourceNotFoundException", NotServed),
    (408, "ModelTimeoutException", ProviderUnavailable),
    (424, "ModelErrorException", ProviderUnavailable),
    (429, "ThrottlingException", Throttled),
    (429, "ModelNotReadyException", ProviderUnavailable),
    (500, "InternalServerException", ProviderUnavailable),
    (503, "ServiceUnavailableException", ProviderUnavailable),
]


@pytest.mark.parametrize("typed", ["header", "", "com.amazon.coral.service#"])
@pytest.mark.parametrize(("status", "kind", "expected"), ERRORS)
def test_documented_errors_are_classified(status, kind, expected, typed):
    assert type(refusal(status, kind, typed=typed)) is expected


def test_retry_after_is_read():
    assert refusal(429, "ThrottlingException").retry_after is None
    error = refusal(429, "ThrottlingException", headers={"retry-after": "3"})
    assert error.retry_after == 3


@pytest.mark.parametrize(
    "message",
    [
        "The provided model identifier is invalid.",
        "Invocation of model ID cohere.embed-v4:0 with on-demand throughput isn't supported. "
        "Retry your request with the ID or ARN of an inference profile that contains this model.",
        "Operation not allowed",
    ],
)
def test_wrong_model_of_the_settings_is_not_the_callers_fault(message):
    assert isinstance(refusal(400, "ValidationException", message), NotServed)


def test_message_has_neither_account_nor_key():
    text = (
        "arn:aws:iam::123456789012:role/x with AKIAIOSFODNN7EXAMPLE at https://x.amazonaws.com: "
        "Malformed input request: expected maxLength: 50000, actual: 60000"
    )
    error = refusal(400, "ValidationException", text)
    assert "expected maxLength: 50000" in str(error)
    for secret in ("123456789012", ACCESS_KEY, "amazonaws"):
        assert secret not in str(error)


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[]", b'{"__type": 1}'])
def test_error_without_known_format_is_classified(raw):
    wire = wire_of(kind="bedrock", region="us-east-1", api_key="ABSK-1")
    assert isinstance(wire.refuse(Incoming(503, {}, raw), []), ProviderUnavailable)


def test_message_of_refused_account_does_not_name_it():
    text = "User: arn:aws:iam::123456789012:user/x is not authorized"
    assert str(refusal(403, "AccessDeniedException", text)) == "refused our credentials (403)"
