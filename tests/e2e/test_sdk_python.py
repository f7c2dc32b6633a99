"""The newest OpenAI SDK for Python against the real server."""

import asyncio

import numpy as np
import openai
import pytest
import wordllama

from tests.e2e.sdk_python import TEXTS, make
from tests.e2e.sdk_python import scripted as scripted
from tests.e2e.sdk_python import sdk as sdk
from tests.e2e.sdk_python import stand as stand
from tests.support.settings import KEY
from tests.support.vectors import ROUNDING, vector


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
