"""Vertex AI's format, and Google's credentials by the real google-auth."""

import json
from contextlib import contextmanager
from typing import ClassVar

import numpy as np
import pytest

from app.domain import Call
from app.errors import ProviderUnavailable
from app.providers import registry
from app.providers.base import Incoming
from app.providers.kinds import vertex
from tests.providers.contract import TEXTS, ProviderContract, provider_settings, soon
from tests.providers.fakes.broken_answers import SPOILED
from tests.providers.fakes.vertex import LOCATION, ONE, PROJECT, VertexFake, key_file
from tests.providers.fan_out import FannedOut


class Contract(ProviderContract):
    kind = "vertex"
    model = "text-embedding-005"
    rejections: ClassVar = [400]
    salts: ClassVar = {"query": "RETRIEVAL_QUERY", "document": "RETRIEVAL_DOCUMENT"}

    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path):
        self.directory = tmp_path

    def new_fake(self):
        return VertexFake()

    def provider(self, fake, key="right", **others):
        path = key_file(self.directory / f"{key}.json", fake.token_uri, key)
        given = {"kind": "vertex", "base_url": fake.address, "key_file": path}
        given |= {"project": PROJECT, "location": LOCATION}
        return registry.make(provider_settings(given | others))

    @contextmanager
    def wrong_key(self, fake):
        yield self.provider(fake, key="wrong")


Contract.__test__ = False  # type: ignore[attr-defined]


class TestVertex(Contract):
    def test_tokens_are_counted_by_item(self, fake):
        vectors = self.provider(fake).embed(self.call(TEXTS), soon())
        assert vectors.tokens == [len(text.split()) for text in TEXTS]

    def test_token_is_reused_until_it_expires(self, fake):
        provider = self.provider(fake)
        self.check(provider, self.call(TEXTS))
        self.check(provider, self.call(TEXTS))
        assert len(fake.tokens) == 1
        token = provider._wire._token.__self__
        token._monotonic = lambda: 1e12  # seconds
        self.check(provider, self.call(TEXTS))
        assert len(fake.tokens) == 2

    def test_failed_token_request_is_retried(self, fake, monkeypatch):
        fake.token_refusal = (503, {"error": "temporarily_unavailable"})
        monkeypatch.setattr("google.auth._exponential_backoff.time.sleep", lambda seconds: None)
        with pytest.raises(ProviderUnavailable, match="no access token"):
            vertex._tokens(self.settings_of(fake))()

    def test_unreachable_token_server_is_an_error(self, fake):
        settings = self.settings_of(fake, token_uri="http://127.0.0.1:1/token")
        with pytest.raises(ProviderUnavailable, match="no access token"):
            vertex._tokens(settings)()

    def settings_of(self, fake, token_uri=None):
        path = key_file(self.directory / "key.json", token_uri or fake.token_uri)
        return provider_settings(
            {"kind": "vertex", "project": PROJECT, "location": LOCATION, "key_file": path}
        )

    def test_passed_fields_are_sent(self, fake):
        passed = {"title": "a title", "outputDimensionality": 8}
        self.provider(fake).embed(self.call(TEXTS, passed=passed), soon())
        body = fake.calls[-1].body
        assert {instance["title"] for instance in body["instances"]} == {"a title"}
        assert body["parameters"] == {"autoTruncate": False, "outputDimensionality": 8}


class TestOneByOne(Contract):
    """gemini-embedding-001, which takes one text in a call."""

    model = ONE

    def provider(self, fake, **others):
        return FannedOut(super().provider(fake, **others))

    def test_limits_are_those_of_the_provider(self, fake):
        """A list must not become the vector of its first text."""
        assert self.provider(fake).limits(self.model).max_inputs == 1
        self.check(self.provider(fake), self.call(TEXTS))
        assert [len(c.body["instances"]) for c in fake.wait_for_calls(5)] == [1] * 4


class TestSecond(Contract):
    """gemini-embedding-2, which has its own method and takes one text in a call."""

    model = "gemini-embedding-2"
    salts: ClassVar = {"query": "task: search result", "document": "title: none"}

    def provider(self, fake, **others):
        return FannedOut(super().provider(fake, **others))

    @pytest.mark.parametrize(
        "how", sorted(SPOILED.keys() - {"one too many"})
    )  # it has place for one
    def test_invalid_vectors_are_a_broken_contract(self, fake, how):
        super().test_invalid_vectors_are_a_broken_contract(fake, how)

    def test_limits_are_those_of_the_provider(self, fake):
        assert self.provider(fake).limits(self.model).max_inputs == 1


# docs.cloud.google.com/gemini-enterprise-agent-platform/reference/rest/v1beta1/
# projects.locations.publishers.models/embedContent, of version 1 as of version 1beta1.
def test_documented_request_and_response_of_embed_content():
    asked = Call(
        "gemini-embedding-2",
        ["a text"],
        3,
        dimensions=3,
        input_type="document",
        passed={"title": "a title", "documentOcr": True},
    )
    out = wire().build(asked)
    assert out.path.endswith("/publishers/google/models/gemini-embedding-2:embedContent")
    assert json.loads(out.body) == {
        "content": {"parts": [{"text": "title: a title | text: a text"}]},
        "embedContentConfig": {
            "autoTruncate": False,
            "documentOcr": True,
            "outputDimensionality": 3,
        },
    }
    answer = {
        "embedding": {"values": [0.0, -0.6, 0.8]},
        "usageMetadata": {"promptTokenCount": 6, "totalTokenCount": 6},
        "truncated": False,
    }
    vectors = wire().parse(Incoming(200, {}, json.dumps(answer).encode()), asked)
    assert np.frombuffer(vectors.rows[0], "<f4").tolist() == pytest.approx([0, -0.6, 0.8])
    assert (vectors.tokens, vectors.estimated) == ([6], False)


# cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api, "Request body"
# and "Response body" (a longer response in …/docs/embeddings/get-text-embeddings).
REQUEST = {
    "instances": [
        {
            "task_type": "RETRIEVAL_DOCUMENT",
            "title": "document title",
            "content": "I would like embeddings for this text!",
        }
    ],
    "parameters": {"autoTruncate": False, "outputDimensionality": 3},
}
RESPONSE = {
    "predictions": [
        {
            "embeddings": {
                "statistics": {"truncated": False, "token_count": 6},
                "values": [0.0, -0.6, 0.8],
            }
        }
    ],
    "metadata": {"billableCharacterCount": 38},
}
CALL = Call(
    "text-embedding-005",
    ["I would like embeddings for this text!"],
    width=3,
    dimensions=3,
    input_type="document",
    passed={"title": "document title"},
)


def wire(location="us-central1", project="acme"):
    settings = {"kind": "vertex", "project": project, "location": location}
    return vertex.Vertex(provider_settings(settings), lambda: "ya29.token")


def test_documented_request_and_response():
    out = wire().build(CALL)
    assert json.loads(out.body) == REQUEST
    assert wire().base_url == "https://us-central1-aiplatform.googleapis.com/v1"
    assert out.path == (
        "/projects/acme/locations/us-central1/publishers/google/models/text-embedding-005:predict"
    )
    assert out.headers == {"Authorization": "Bearer ya29.token"}
    vectors = wire().parse(Incoming(200, {}, json.dumps(RESPONSE).encode()), CALL)
    assert np.frombuffer(vectors.rows[0], "<f4").tolist() == pytest.approx([0, -0.6, 0.8])
    assert vectors.tokens == [6]
    assert not vectors.estimated


def test_global_location_has_its_own_url():
    assert wire("global").base_url == "https://aiplatform.googleapis.com/v1"


def test_old_models_have_a_version_in_the_name():
    out = wire().build(Call("textembedding-gecko@003", ["x"], 3))
    assert out.path.endswith("/models/textembedding-gecko@003:predict")


@pytest.mark.parametrize("model", [ONE, "gemini-embedding-2"])
def test_limit_of_gemini_models_is_one_text(model):
    assert wire().limits(model).max_inputs == 1
    takes = wire().limits("text-multilingual-embedding-002")
    assert (takes.max_inputs, takes.max_tokens, takes.tokens) == (250, 20_000, False)
