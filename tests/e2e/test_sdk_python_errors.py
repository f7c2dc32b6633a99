"""Errors of the proxy as the newest OpenAI SDK for Python raises them, and its retries."""

import openai
import pytest

from tests.e2e.sdk_python import make
from tests.e2e.sdk_python import scripted as scripted
from tests.e2e.sdk_python import sdk as sdk
from tests.e2e.sdk_python import stand as stand
from tests.support import refusals, stalls
from tests.support.settings import NARROW_KEY


def test_another_space_is_an_error_that_is_not_retried(proxy, upstream):
    with make(proxy.url, max_retries=5) as client, pytest.raises(openai.APIStatusError) as caught:
        client.embeddings.create(model="embed", input="x", extra_headers={"x-proxy-space": "old"})
    error = caught.value
    assert (error.status_code, error.code, error.type) == (
        412, "space_changed", "invalid_request_error",
    )  # fmt: skip
    assert "`old`" in error.message
    assert f"`{error.response.headers['x-proxy-space']}`" in error.message
    assert error.response.request.headers["x-stainless-retry-count"] == "0"
    assert upstream.calls == []


def test_wrong_key_is_an_authentication_error(stand):
    with (
        make(stand.url, api_key="sk-wrong") as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.embeddings.create(model=stand.model, input="x")
    assert caught.value.code == "invalid_api_key"


def test_unknown_models_and_bad_fields_are_errors_of_the_sdk(sdk, stand):
    with pytest.raises(openai.NotFoundError, match="does not exist") as caught:
        sdk.embeddings.create(model="unknown", input="x")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        sdk.models.retrieve("unknown")
    with pytest.raises(openai.BadRequestError, match="is invalid") as caught:
        sdk.embeddings.create(model=stand.model, input="")
    assert caught.value.param == "input"
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.embeddings.create(model=stand.model, input="x", extra_body={"cachin": True})
    assert caught.value.param == "cachin"


def test_model_of_other_keys_is_a_permission_error(proxy):
    with make(proxy.url, api_key=NARROW_KEY) as client:
        assert [model.id for model in client.models.list()] == ["steady"]
        assert client.embeddings.create(model="steady", input="x").data
        with pytest.raises(openai.PermissionDeniedError) as caught:
            client.embeddings.create(model="embed", input="x")
    assert caught.value.code == "model_not_allowed"


@pytest.mark.parametrize(
    ("behaviour", "error", "code"),
    [
        (refusals.status(429, Retry_After="7"), openai.RateLimitError, "rate_limit_exceeded"),
        (refusals.status(500), openai.InternalServerError, "upstream_error"),
        (refusals.status(409), openai.InternalServerError, "upstream_error"),
        (refusals.status(400, "too long"), openai.BadRequestError, None),
        (stalls.silence, openai.InternalServerError, "timeout"),
    ],
    ids=["429", "500", "409", "400", "silence"],
)
def test_failures_of_providers_are_errors_of_the_sdk(
    scripted, upstream, fresh, behaviour, error, code
):
    upstream.always(behaviour)
    fields = {"timeout": 1 if behaviour is stalls.silence else 20}
    with pytest.raises(error) as caught:
        scripted.embeddings.create(model=fresh("embed"), input="x", extra_body=fields)
    assert caught.value.code == code
    assert type(caught.value) is error


def test_retry_of_the_sdk_succeeds_after_recovery(scripted, upstream, fresh):
    upstream.script(refusals.status(429, Retry_After="0"))
    patient = scripted.with_options(max_retries=1)
    assert patient.embeddings.create(model=fresh("embed"), input="x").data


def test_sdk_does_not_retry_after_the_deadline(scripted, upstream, fresh):
    upstream.always(stalls.silence)
    patient = scripted.with_options(max_retries=2)
    with pytest.raises(openai.InternalServerError) as caught:
        patient.embeddings.create(model=fresh("embed"), input="x", extra_body={"timeout": 1})
    assert caught.value.status_code == 504
    assert len(upstream.calls) == 1
