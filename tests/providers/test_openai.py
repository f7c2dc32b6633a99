"""OpenAI's own format, and its errors."""

import json

import numpy as np
import pytest

from app.domain import Call
from app.errors import CredentialsRefused, Rejected, Throttled
from app.providers.base import Incoming
from tests.providers.contract import ProviderContract, wire_of
from tests.providers.fakes.openai import OpenAIFake
from tests.support.vectors import encode


class TestOpenAI(ProviderContract):
    kind = "openai"
    tokens = True
    takes_user = True
    variants = [{}, {"encoding": "float"}, {"encoding": "omit"}]

    def new_fake(self):
        return OpenAIFake()


# platform.openai.com/docs/api-reference/embeddings/create, "Example request" and "Response".
REQUEST = {
    "input": ["The food was delicious and the waiter..."],
    "model": "text-embedding-ada-002",
    "encoding_format": "float",
}
RESPONSE = {
    "object": "list",
    "data": [
        {
            "object": "embedding",
            "embedding": [0.0023064255, -0.009327292, -0.0028842222],
            "index": 0,
        }
    ],
    "model": "text-embedding-ada-002",
    "usage": {"prompt_tokens": 8, "total_tokens": 8},
}
CALL = Call("text-embedding-ada-002", ["The food was delicious and the waiter..."], 3)


def test_documented_request_and_response():
    wire = wire_of(kind="openai", api_key="sk-1", encoding="float")
    out = wire.build(CALL)
    assert json.loads(out.body) == REQUEST
    assert (wire.base_url, out.path) == ("https://api.openai.com/v1", "/embeddings")
    assert out.headers == {"Authorization": "Bearer sk-1"}
    vectors = wire.parse(Incoming(200, {}, json.dumps(RESPONSE).encode()), CALL)
    assert vectors.rows == [np.array(RESPONSE["data"][0]["embedding"], "<f4").tobytes()]
    assert vectors.tokens == [8]
    assert not vectors.estimated


def test_base64_is_requested_by_default():
    wire = wire_of(kind="openai")
    out = wire.build(CALL)
    assert json.loads(out.body)["encoding_format"] == "base64"
    assert out.headers == {}
    row = np.array([1, 2, 3], "<f4")
    body = {"data": [{"index": 0, "embedding": encode(row)}]}
    vectors = wire.parse(Incoming(200, {}, json.dumps(body).encode()), CALL)
    assert vectors.rows == [row.tobytes()]
    assert vectors.estimated


def test_usage_with_only_total_tokens_is_read():
    body = {**RESPONSE, "usage": {"total_tokens": 9}}
    vectors = wire_of(kind="openai").parse(Incoming(200, {}, json.dumps(body).encode()), CALL)
    assert vectors.tokens == [9]


@pytest.mark.parametrize("usage", [{"prompt_tokens": -1}, {}, None])
def test_invalid_count_is_estimated(usage):
    body = json.dumps({**RESPONSE, "usage": usage}).encode()
    assert wire_of(kind="openai").parse(Incoming(200, {}, body), CALL).estimated


def test_ada_is_sent_no_dimensions_unless_configured():
    ada, small = "text-embedding-ada-002", "text-embedding-3-small"
    wire = wire_of(kind="openai")
    assert (wire.limits(ada).dimensions, wire.limits(small).dimensions) == (False, True)
    assert wire_of(kind="openai", send_dimensions=True).limits(ada).dimensions
    assert not wire_of(kind="openai", send_dimensions=False).limits(small).dimensions
    assert not wire_of(kind="openai", send_tokens=False).limits(small).tokens


def refusal(status, code=None, message="no", headers=(), kind="openai"):
    body = {"error": {"message": message, "type": "x", "param": None, "code": code}}
    incoming = Incoming(status, dict(headers), json.dumps(body).encode())
    return wire_of(kind=kind, base_url="http://127.0.0.1").refuse(incoming, [])


def test_used_up_quota_has_a_long_rest():
    """platform.openai.com/docs/guides/error-codes: "You exceeded your current quota"."""
    error = refusal(429, "insufficient_quota")
    assert isinstance(error, Throttled)
    assert error.retry_after == 600
    assert refusal(429, "insufficient_quota", headers={"retry-after": "900"}).retry_after == 900


def test_quota_of_a_minute_has_a_short_rest():
    """DashScope's insufficient_quota: help.aliyun.com/…/error-code, Throttling.AllocationQuota."""
    assert refusal(429, "insufficient_quota", kind="dashscope").retry_after is None


@pytest.mark.parametrize("code", ["billing_hard_limit_reached", "Arrearage"])
def test_unpaid_bill_is_credentials_refused(code):
    assert isinstance(refusal(400, code), CredentialsRefused)


def test_code_may_be_a_number():
    """Azure's code is the string "429", vLLM's the number 400."""
    assert isinstance(refusal(400, 400, "too long"), Rejected)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "20ms"}, 0.02),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1h2m3.5s"}, 3723.5),
        ({"x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "6m0s"}, None),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "?"}, None),
        ({"x-ratelimit-remaining-tokens": "0"}, None),
    ],
)
def test_reset_of_the_used_up_limit_is_the_wait(headers, seconds):
    """platform.openai.com/docs/guides/rate-limits, "Rate limits in headers"."""
    assert refusal(429, "rate_limit_exceeded", headers=headers).retry_after == seconds
    assert refusal(429, headers={**headers, "retry-after": "1"}).retry_after == 1
