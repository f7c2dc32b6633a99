"""The newest OpenAI SDK for Python against the real server."""

import asyncio
from dataclasses import dataclass
from itertools import combinations
from string import ascii_lowercase

import numpy as np
import openai
import pytest
import wordllama

from tests.support import refusals, stalls
from tests.support.settings import KEY, NARROW_KEY
from tests.support.vectors import ROUNDING, vector

# Pairs, because a static model such as wordllama ignores the order of words.
NUMBERS = [f"{i}{letter}" for i, letter in enumerate(ascii_lowercase[:25])]
TEXTS = [f"from {one} to {other}" for one, other in combinations(NUMBERS, 2)]


@dataclass(frozen=True)
class Stand:
    """A running proxy, one of its models, and its widths."""

    url: str
    model: str
    width: int
    narrow: int


@pytest.fixture(scope="module", params=["embedded", "upstream"])
def stand(request):
    """The embedded model without settings, and a model of a provider."""
    if request.param == "embedded":
        return Stand(request.getfixturevalue("default_proxy").url, "wordllama", 256, 64)
    return Stand(request.getfixturevalue("proxy").url, "embed", 32, 8)


@pytest.fixture
def sdk(stand):
    with make(stand.url) as client:
        yield client


@pytest.fixture
def scripted(proxy, upstream):
    """A client whose model is served by `upstream`, and which does not retry."""
    with make(proxy.url) as client:
        yield client


def make(url, kind=openai.OpenAI, **options):
    return kind(**{"base_url": url + "/v1", "api_key": KEY, "max_retries": 0, **options})


def vectors_of(answer):
    assert [item.index for item in answer.data] == list(range(len(answer.data)))
    return np.array([item.embedding for item in answer.data])


def assert_close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=0, atol=ROUNDING)


def test_one_text_is_embedded(sdk, stand):
    answer = sdk.embeddings.create(model=stand.model, input="hello there")
    (found,) = vectors_of(answer)
    assert found.shape == (stand.width,)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
    assert answer.model == stand.model
    assert answer.object == "list"
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0


def test_floats_and_base64_are_the_same_vector(sdk, stand):
    default, floats, base64 = (
        sdk.embeddings.create(model=stand.model, input=TEXTS[:5], **options)
        for options in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"})
    )
    assert_close(vectors_of(default), vectors_of(floats))
    assert isinstance(base64.data[0].embedding, str)
    assert base64.usage == floats.usage


def test_batch_keeps_its_order(sdk, stand):
    batch = vectors_of(sdk.embeddings.create(model=stand.model, input=TEXTS))
    assert batch.shape == (300, stand.width)
    assert len(np.unique(batch, axis=0)) == 300
    for i in (0, 1, 150, 299):
        (alone,) = vectors_of(sdk.embeddings.create(model=stand.model, input=TEXTS[i]))
        assert_close(batch[i], alone)


def test_all_four_shapes_of_input_are_embedded(sdk, stand):
    one, other = [791, 2579, 3290], [22691, 1917]
    (text,) = vectors_of(sdk.embeddings.create(model=stand.model, input="a b"))
    (texts,) = vectors_of(sdk.embeddings.create(model=stand.model, input=["a b"]))
    (tokens,) = vectors_of(sdk.embeddings.create(model=stand.model, input=one))
    lists = sdk.embeddings.create(model=stand.model, input=[one, other])
    assert_close(text, texts)
    assert_close(tokens, vectors_of(lists)[0])
    assert not np.allclose(tokens, vectors_of(lists)[1])
    assert lists.usage.prompt_tokens == 5


def test_dimensions_are_cut_and_renormalised(sdk, stand):
    (wide,) = vectors_of(sdk.embeddings.create(model=stand.model, input="hello"))
    for encoding in ("float", openai.omit):
        answer = sdk.embeddings.create(
            model=stand.model, input="hello", dimensions=stand.narrow, encoding_format=encoding
        )
        cut = wide[: stand.narrow]
        assert_close(vectors_of(answer)[0], cut / np.linalg.norm(cut))


def test_fields_of_the_proxy_are_accepted(sdk, stand):
    raw = sdk.embeddings.with_raw_response
    fields = {"timeout": 30, "caching": True, "input_type": "query"}
    states = [
        raw.create(model=stand.model, input="kept", user="u", extra_body=fields).headers[
            "x-proxy-cache"
        ]
        for _ in range(2)
    ]
    assert states == ["miss", "hit"]
    assert raw.create(model=stand.model, input="kept").headers["x-proxy-cache"] == "off"


def test_a_caller_can_insist_on_the_space_of_its_index(sdk, stand):
    raw = sdk.embeddings.with_raw_response.create(model=stand.model, input="first")
    space = raw.headers["x-proxy-space"]
    assert sdk.models.retrieve(stand.model).space == space
    again = sdk.embeddings.create(
        model=stand.model, input="second", extra_headers={"x-proxy-space": space}
    )
    assert len(again.data) == 1


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


def test_raw_responses_have_headers_of_the_proxy(sdk, stand):
    raw = sdk.embeddings.with_raw_response.create(
        model=stand.model, input="x", extra_headers={"X-Request-Id": "my-own-id-1"}
    )
    assert raw.headers["x-request-id"] == "my-own-id-1"
    assert raw.headers["x-proxy-attempts"] == "1"
    assert raw.headers["x-proxy-provider"]
    assert raw.parse().data[0].index == 0


def test_async_client_is_served_in_parallel(stand):
    async def ask_all():
        async with make(stand.url, openai.AsyncOpenAI) as client:
            calls = [client.embeddings.create(model=stand.model, input=t) for t in TEXTS[:20]]
            return await asyncio.gather(*calls)

    together = np.concatenate([vectors_of(answer) for answer in asyncio.run(ask_all())])
    with make(stand.url) as client:
        assert_close(
            together,
            vectors_of(client.embeddings.create(model=stand.model, input=TEXTS[:20])),
        )


def test_azure_client_is_served(stand):
    with openai.AzureOpenAI(
        azure_endpoint=stand.url, api_key=KEY, api_version="2024-10-21", max_retries=0
    ) as azure:
        (found,) = vectors_of(azure.embeddings.create(model=stand.model, input="hello"))
    with make(stand.url) as client:
        (same,) = vectors_of(client.embeddings.create(model=stand.model, input="hello"))
    assert_close(found, same)


def test_models_are_listed(sdk, stand):
    assert stand.model in [model.id for model in sdk.models.list()]
    model = sdk.models.retrieve(stand.model)
    assert (model.id, model.object, model.dimensions) == (stand.model, "model", stand.width)


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


def test_the_embedded_model_is_wordllama(default_proxy):
    """The vectors equal those of wordllama itself, scaled to length 1."""
    model = wordllama.WordLlama.load(cache_dir=wordllama.__path__[0], disable_download=True)
    with make(default_proxy.url) as client:
        found = vectors_of(client.embeddings.create(model="wordllama", input=TEXTS[:9]))
    np.testing.assert_allclose(found, model.embed(TEXTS[:9], norm=True), rtol=0, atol=1e-5)


def test_vectors_are_those_of_the_provider(scripted):
    answer = scripted.embeddings.create(model="embed", input=TEXTS, dimensions=16)
    assert_close(vectors_of(answer), [vector(text, 16) for text in TEXTS])
    assert answer.usage.prompt_tokens == sum(len(text.split()) for text in TEXTS)


def test_model_of_other_keys_is_a_permission_error(proxy):
    with make(proxy.url, api_key=NARROW_KEY) as client:
        assert [model.id for model in client.models.list()] == ["steady"]
        assert client.embeddings.create(model="steady", input="x").data
        with pytest.raises(openai.PermissionDeniedError) as caught:
            client.embeddings.create(model="embed", input="x")
    assert caught.value.code == "model_not_allowed"


def test_service_tier_is_a_field_of_the_body(sdk, stand):
    for tier in ("auto", "default", "flex"):
        answer = sdk.embeddings.create(
            model=stand.model, input="x", extra_body={"service_tier": tier}
        )
        assert answer.data
        assert answer.model_extra == {}  # the answer is OpenAI's for embeddings
    with pytest.raises(openai.PermissionDeniedError) as denied:
        sdk.embeddings.create(model=stand.model, input="x", extra_body={"service_tier": "priority"})
    assert (denied.value.code, denied.value.param) == ("service_tier_not_allowed", "service_tier")
    with pytest.raises(openai.BadRequestError) as bad:
        sdk.embeddings.create(model=stand.model, input="x", extra_body={"service_tier": "scale"})
    assert bad.value.param == "service_tier"


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
    with pytest.raises(error) as caught:
        scripted.embeddings.create(model=fresh("embed"), input="x", extra_body={"timeout": 1})
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
