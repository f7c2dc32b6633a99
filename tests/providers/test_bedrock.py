"""Bedrock's models, by API key and signed: the fake checks the signatures with botocore."""

import json
import time
from typing import ClassVar

import numpy as np
import pytest

from app import config
from app.dispatch import Dispatcher
from app.domain import Call, EmbeddingRequest
from app.errors import CredentialsRefused, Rejected
from app.providers import registry
from app.providers.base import Incoming
from tests.providers.contract import TEXTS, ProviderContract, soon, wire_of
from tests.providers.fakes.bedrock import ACCESS_KEY, REGION, BedrockFake
from tests.providers.fan_out import FannedOut
from tests.support.vectors import count_tokens, vector

TITAN = "amazon.titan-embed-text-v2:0"
PROFILE = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abc123"


class Contract(ProviderContract):
    """Tests with an API key, and with signatures."""

    kind = "bedrock"
    model = TITAN
    settings: ClassVar = {"region": REGION}
    variants: ClassVar = [{}, {"access_key_id": ACCESS_KEY}]
    rejections: ClassVar = [400]

    def new_fake(self):
        return BedrockFake()

    def provider(self, fake, **others):
        provider = super().provider(fake, **others)
        one = provider.limits(self.model).max_inputs == 1
        return FannedOut(provider) if one else provider

    def test_wrong_secret_is_credentials_refused(self, fake):
        wrong = self.provider(fake, access_key_id=ACCESS_KEY, api_key="not-the-secret")
        with pytest.raises(CredentialsRefused):
            wrong.embed(self.call(TEXTS), soon())


Contract.__test__ = False  # type: ignore[attr-defined]


class TestTitan(Contract):
    """A list must not become one vector, or the vector of its first text."""

    def test_limit_is_one_text(self, fake):
        assert self.provider(fake).limits(self.model).max_inputs == 1
        self.check(self.provider(fake), self.call(TEXTS))
        assert [c.body for c in fake.wait_for_calls(4)] == [{"inputText": t} for t in TEXTS]

    def test_a_session_token_is_signed_and_sent(self, fake, monkeypatch):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", fake.api_key)
        monkeypatch.setenv("AWS_SESSION_TOKEN", "a-session-token")
        provider = self.provider(fake, api_key=None)
        with pytest.raises(CredentialsRefused):
            provider.embed(self.call(TEXTS), soon())
        fake.session_token = "a-session-token"
        self.check(provider, self.call(TEXTS))


class TestTitanByItsArn(Contract):
    """An ARN has ':' and '/', and does not name the family of the model."""

    model = PROFILE
    settings: ClassVar = {"region": REGION, "family": "titan-v2"}

    def test_arn_is_encoded_in_the_path(self, fake):
        self.check(self.provider(fake), self.call(TEXTS))
        (call, *_) = fake.wait_for_calls(4)
        assert call.path == (
            "/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3A"
            "application-inference-profile%2Fabc123/invoke"
        )


class TestTitan1(Contract):
    model = "amazon.titan-embed-text-v1"
    dimensions = False


class TestCohere4(Contract):
    model = "eu.cohere.embed-v4:0"
    salts: ClassVar = {
        None: "search_document",
        "query": "search_query",
        "document": "search_document",
    }

    def test_embeddings_by_type_are_read(self, fake):
        passed = {"embedding_types": ["float"]}
        self.check(self.provider(fake), self.call(TEXTS, passed=passed))

    def test_limit_is_96_texts(self, fake):
        provider = self.provider(fake)
        assert provider.limits(self.model).max_inputs == 96
        self.check(provider, self.call(["x"] * 96))
        with pytest.raises(Rejected):
            provider.embed(self.call(["x"] * 97), soon())


class TestCohere3(TestCohere4):
    model = "cohere.embed-multilingual-v3"
    dimensions = False


class TestNova(Contract):
    model = "amazon.nova-2-multimodal-embeddings-v1:0"
    salts: ClassVar = {
        None: "GENERIC_INDEX",
        "query": "TEXT_RETRIEVAL",
        "document": "GENERIC_INDEX",
    }

    def test_passed_fields_are_sent(self, fake):
        passed = {"embeddingPurpose": "CLUSTERING", "truncationMode": "END"}
        self.provider(fake).embed(self.call(TEXTS[:1], passed=passed), soon())
        params = fake.calls[-1].body["singleEmbeddingParams"]
        assert params == {
            "embeddingPurpose": "CLUSTERING",
            "text": {"truncationMode": "END", "value": TEXTS[0]},
        }


def test_dispatch_fans_out_by_the_limits_of_the_model():
    """Two models of one provider: one takes one text in a call, the other 96."""
    with BedrockFake() as fake:
        provider = {"kind": "bedrock", "region": REGION, "api_key": fake.api_key}
        models = {"one": TITAN, "many": "cohere.embed-v4:0"}
        checked = config.check(
            {
                "PROVIDERS": {"aws": {**provider, "base_url": fake.address}},
                "MODELS": {
                    name: {"dimensions": 8, "deployments": [{"provider": "aws", "model": model}]}
                    for name, model in models.items()
                },
                "KEYS": {"k": {"sha256": "0" * 64}},
            },
            registry,
        )
        dispatcher = Dispatcher(checked, registry.make_used(checked))
        for name, salt, calls in (("one", "", 4), ("many", "search_document", 1)):
            fake.calls.clear()
            outcome = dispatcher.embed(EmbeddingRequest(name, TEXTS), time.monotonic() + 60)
            assert outcome.vectors.rows == [vector(text, 8, salt).tobytes() for text in TEXTS]
            assert len(fake.calls) == calls
            assert outcome.prompt_tokens == sum(map(count_tokens, TEXTS))


# Golden bodies: (model, call, request, response, headers of the response, vector, tokens).
GOLDEN = {
    # docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html, "V2".
    "titan": (
        Call(TITAN, ["What are the different services that you offer?"], 3, 3),
        {"inputText": "What are the different services that you offer?", "dimensions": 3},
        {
            "embedding": [0.5, -0.25, 0.125],
            "inputTextTokenCount": 9,
            "embeddingsByType": {"float": [0.5, -0.25, 0.125]},
        },
        {},
        [[0.5, -0.25, 0.125]],
        [9],
    ),
    # …/model-parameters-embed-v3.html: "Embed floats response".
    "cohere 3": (
        Call("cohere.embed-english-v3", ["hello world", "this is a test"], 2, input_type="query"),
        {
            "texts": ["hello world", "this is a test"],
            "input_type": "search_query",
            "truncate": "NONE",
        },
        {
            "embeddings": [[1.0, 2.0], [3.0, 4.0]],
            "id": "1",
            "response_type": "embeddings_floats",
            "texts": ["hello world", "this is a test"],
        },
        {"x-amzn-bedrock-input-token-count": "10"},
        [[1, 2], [3, 4]],
        [4, 6],
    ),
    # …/model-parameters-embed-v4.html: "Response" by type.
    "cohere 4": (
        Call("cohere.embed-v4:0", ["hello world"], 2, 2),
        {
            "texts": ["hello world"],
            "input_type": "search_document",
            "truncate": "NONE",
            "output_dimension": 2,
        },
        {
            "embeddings": {"float": [[1.0, 2.0]]},
            "id": "1",
            "response_type": "embeddings_by_type",
            "texts": ["hello world"],
        },
        {"x-amzn-bedrock-input-token-count": "2"},
        [[1, 2]],
        [2],
    ),
    # docs.aws.amazon.com/nova/latest/userguide/embeddings-schema.html, "Complete synchronous
    # schema" (schemaVersion is optional) and "InvokeModel Response Body".
    "nova": (
        Call("amazon.nova-2-multimodal-embeddings-v1:0", ["Hello, World!"], 2, 2),
        {
            "taskType": "SINGLE_EMBEDDING",
            "singleEmbeddingParams": {
                "embeddingPurpose": "GENERIC_INDEX",
                "embeddingDimension": 2,
                "text": {"truncationMode": "NONE", "value": "Hello, World!"},
            },
        },
        {"embeddings": [{"embeddingType": "TEXT", "embedding": [0.5, 0.25]}]},
        {"x-amzn-bedrock-input-token-count": "4"},
        [[0.5, 0.25]],
        [4],
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_documented_request_and_response(name):
    call, request, response, headers, expected, tokens = GOLDEN[name]
    wire = wire_of(kind="bedrock", region="us-east-1", api_key="ABSK-1")
    out = wire.build(call)
    assert json.loads(out.body) == request
    assert wire.base_url == "https://bedrock-runtime.us-east-1.amazonaws.com"
    assert out.path == f"/model/{call.model.replace(':', '%3A')}/invoke"
    assert out.headers["Authorization"] == "Bearer ABSK-1"
    vectors = wire.parse(Incoming(200, headers, json.dumps(response).encode()), call)
    assert [np.frombuffer(row, "<f4").tolist() for row in vectors.rows] == expected
    assert (list(vectors.tokens), vectors.estimated) == (tokens, False)


@pytest.mark.parametrize("count", ["many", "", "0", "-3", None])
def test_invalid_count_is_estimated(count):
    headers = {} if count is None else {"x-amzn-bedrock-input-token-count": count}
    call, _, response, *_ = GOLDEN["nova"]
    wire = wire_of(kind="bedrock", region="us-east-1", api_key="ABSK-1")
    assert wire.parse(Incoming(200, headers, json.dumps(response).encode()), call).estimated
