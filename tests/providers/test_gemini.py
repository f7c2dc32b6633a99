"""Gemini's format, and errors of Google."""

import json
from typing import ClassVar

import numpy as np
import pytest

from app.domain import Call
from app.errors import CredentialsRefused, NotServed, ProviderUnavailable, Rejected, Throttled
from app.providers.base import Incoming
from tests.providers.contract import TEXTS, ProviderContract, soon, wire_of
from tests.providers.fakes.gemini import GeminiFake

MODEL = "gemini-embedding-001"


class TestGemini(ProviderContract):
    kind = "gemini"
    model = MODEL
    rejections: ClassVar = [400]
    salts: ClassVar = {"query": "RETRIEVAL_QUERY", "document": "RETRIEVAL_DOCUMENT"}

    def new_fake(self):
        return GeminiFake()

    def test_cut_vectors_have_length_1(self, fake):
        """The fake returns shorter ones, as gemini-embedding-001 does."""
        vectors = self.check(self.provider(fake), self.call(TEXTS, dimensions=3))
        for row in vectors.rows:
            assert np.linalg.norm(np.frombuffer(row, "<f4")) == pytest.approx(1, abs=1e-6)

    def test_vector_at_full_width_is_unchanged(self, fake):
        fake.behaviour.spoil = lambda rows: [row * 2 for row in rows]
        vectors = self.provider(fake).embed(self.call(TEXTS), soon())
        assert np.linalg.norm(np.frombuffer(vectors.rows[0], "<f4")) == pytest.approx(2, abs=1e-5)

    def test_passed_fields_are_sent(self, fake):
        passed = {"taskType": "CLUSTERING", "title": "a title"}
        self.provider(fake).embed(self.call(TEXTS, input_type="query", passed=passed), soon())
        for request in fake.calls[-1].body["requests"]:
            assert passed.items() <= request.items()


class TestGemini2(TestGemini):
    """The task is part of the text; a task type is refused."""

    model = "gemini-embedding-2"
    salts: ClassVar = {"query": "task: search result", "document": "title: none"}

    def test_passed_fields_are_sent(self, fake):
        """A title is part of the text of a document."""
        asked = self.call(TEXTS, input_type="document", passed={"title": "a title"})
        self.provider(fake).embed(asked, soon())
        for text, request in zip(TEXTS, fake.calls[-1].body["requests"], strict=True):
            assert request["content"] == {"parts": [{"text": f"title: a title | text: {text}"}]}
            assert "title" not in request

    def test_text_without_input_type_is_sent_unchanged(self, fake):
        self.provider(fake).embed(self.call(TEXTS), soon())
        sent = [r["content"]["parts"][0]["text"] for r in fake.calls[-1].body["requests"]]
        assert sent == TEXTS


# ai.google.dev/gemini-api/docs/embeddings (REST, several texts; with a task; with a dimension), put
# into batchEmbedContents' shape as ai.google.dev/api/embeddings has it.
REQUEST = {
    "requests": [
        {
            "model": "models/gemini-embedding-001",
            "content": {"parts": [{"text": text}]},
            "taskType": "RETRIEVAL_DOCUMENT",
            "outputDimensionality": 3,
        }
        for text in ("What is the meaning of life?", "How do I bake a cake?")
    ]
}
RESPONSE = {"embeddings": [{"values": [0.6, 0.0, 0.8]}, {"values": [0.0, 3e-1, 0.4]}]}
CALL = Call(
    MODEL,
    ["What is the meaning of life?", "How do I bake a cake?"],
    width=3,
    dimensions=3,
    input_type="document",
)


def test_documented_request_and_response():
    wire = wire_of(kind="gemini", api_key="AIza-1")
    out = wire.build(CALL)
    assert json.loads(out.body) == REQUEST
    assert wire.base_url == "https://generativelanguage.googleapis.com/v1beta"
    assert out.path == "/models/gemini-embedding-001:batchEmbedContents"
    assert out.headers == {"x-goog-api-key": "AIza-1"}
    vectors = wire.parse(Incoming(200, {}, json.dumps(RESPONSE).encode()), CALL)
    assert [np.frombuffer(row, "<f4").tolist() for row in vectors.rows] == [
        pytest.approx([0.6, 0, 0.8]),
        pytest.approx([0, 0.6, 0.8]),
    ]
    assert vectors.estimated


def test_model_name_may_have_the_prefix():
    wire = wire_of(kind="gemini")
    out = wire.build(Call("models/" + MODEL, ["x"], 3))
    assert out.path == f"/models/{MODEL}:batchEmbedContents"
    assert json.loads(out.body)["requests"][0]["model"] == "models/" + MODEL
    assert out.headers == {}


def test_total_is_shared_among_items():
    body = json.dumps({**RESPONSE, "usageMetadata": {"promptTokenCount": 13}}).encode()
    vectors = wire_of(kind="gemini").parse(Incoming(200, {}, body), CALL)
    assert sum(vectors.tokens) == 13
    assert not vectors.estimated


@pytest.mark.parametrize("usage", [{}, {"promptTokenCount": 0}, {"promptTokenCount": -1}, None])
def test_invalid_total_is_estimated(usage):
    body = json.dumps({**RESPONSE, "usageMetadata": usage}).encode()
    assert wire_of(kind="gemini").parse(Incoming(200, {}, body), CALL).estimated


def refusal(status, name="", message="no", details=(), headers=(), raw=None):
    error = {"code": status, "message": message, "status": name, "details": list(details)}
    body = json.dumps({"error": error}).encode() if raw is None else raw
    return wire_of(kind="gemini").refuse(Incoming(status, dict(headers), body), [])


TYPE = "type.googleapis.com/google.rpc."
# cloud.google.com/apis/design/errors, "Error details"; ai.google.dev/gemini-api/docs/rate-limits.
QUOTA = {"@type": TYPE + "QuotaFailure", "violations": [{"quotaMetric": "x", "quotaId": "y"}]}
HELP = {"@type": TYPE + "Help", "links": [{"description": "x", "url": "https://ai.google.dev"}]}


def retry(delay):
    return {"@type": TYPE + "RetryInfo", "retryDelay": delay}


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [("34s", 34), ("1.5s", 1.5), ("0s", 0), ("infs", None), ("soon", None), ("", None)],
)
def test_retry_delay_is_read(delay, seconds):
    error = refusal(429, "RESOURCE_EXHAUSTED", details=[QUOTA, HELP, retry(delay)])
    assert isinstance(error, Throttled)
    assert error.retry_after == seconds
    header = refusal(429, details=[retry(delay)], headers={"retry-after": "3"})
    assert header.retry_after == 3


def test_429_without_details_has_no_wait():
    assert refusal(429, "RESOURCE_EXHAUSTED").retry_after is None


@pytest.mark.parametrize("reason", ["API_KEY_INVALID", "API_KEY_SERVICE_BLOCKED"])
def test_400_for_a_wrong_key_is_not_the_callers_fault(reason):
    info = {"@type": TYPE + "ErrorInfo", "reason": reason, "domain": "googleapis.com"}
    error = refusal(400, "INVALID_ARGUMENT", "API key expired.", [info])
    assert isinstance(error, CredentialsRefused)


def test_400_for_an_unsupported_country_is_not_the_callers_fault():
    text = "User location is not supported for the API use."
    assert isinstance(refusal(400, "FAILED_PRECONDITION", text), CredentialsRefused)


@pytest.mark.parametrize(
    ("status", "name", "kind"),
    [
        (400, "INVALID_ARGUMENT", Rejected),
        (401, "UNAUTHENTICATED", CredentialsRefused),
        (403, "PERMISSION_DENIED", CredentialsRefused),
        (404, "NOT_FOUND", NotServed),
        (499, "CANCELLED", ProviderUnavailable),
        (500, "INTERNAL", ProviderUnavailable),
        (503, "UNAVAILABLE", ProviderUnavailable),
        (504, "DEADLINE_EXCEEDED", ProviderUnavailable),
    ],
)
def test_documented_statuses_are_classified(status, name, kind):
    assert type(refusal(status, name)) is kind


def test_message_has_neither_project_nor_key():
    text = "Invalid: projects/acme-prod-123/models/x, key AIzaSyA1234567890123456789012 is too long"
    error = refusal(400, "INVALID_ARGUMENT", text)
    assert error.message.endswith("is too long")
    assert "acme" not in str(error)
    assert "AIza" not in str(error)


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[]", b'{"error": "x"}', b'{"error": {}}'])
def test_error_without_known_format_is_classified(raw):
    assert isinstance(refusal(400, raw=raw), Rejected)
