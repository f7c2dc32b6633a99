"""Errors of a provider: the client gets a useful error without keys and addresses.

Providers repeat our key and their addresses in errors; these are removed.
"""

import pytest

from tests.support import refusals
from tests.support.vectors import assert_answers


@pytest.fixture
def model(fresh):
    """A model without failures so far."""
    return fresh("embed")


REFUSALS = [
    # provider's status → ours, code
    (400, 400, None),
    (401, 502, "upstream_error"),
    (402, 502, "upstream_error"),
    (403, 502, "upstream_error"),
    (404, 502, "upstream_error"),
    (405, 502, "upstream_error"),
    (408, 502, "upstream_error"),
    (409, 502, "upstream_error"),
    (418, 502, "upstream_error"),
    (422, 400, None),
    (429, 429, "rate_limit_exceeded"),
    (500, 502, "upstream_error"),
    (502, 502, "upstream_error"),
    (503, 502, "upstream_error"),
    (504, 502, "upstream_error"),
]


@pytest.mark.parametrize("shape", ["error", "page"])
@pytest.mark.parametrize(("code", "status", "ours"), REFUSALS)
def test_error_of_a_provider_is_answered_without_secrets(
    proxy, client, upstream, model, code, status, ours, shape
):
    upstream.always(refusals.status(code) if shape == "error" else refusals.page(code))
    answer = client.embed(model, "hello", caching=True, timeout=20)
    assert (answer.status, answer.error["code"]) == (status, ours), answer.text
    assert_discreet(proxy, upstream, answer)
    if code in (401, 402, 403):  # a retry of the SDK would have the same credentials
        assert answer.headers["x-should-retry"] == "false"


def assert_discreet(proxy, upstream, answer):
    log = str(proxy.log_line(answer.headers["x-request-id"]))
    for secret in (upstream.api_key, upstream.base_url, f"127.0.0.1:{upstream.port}", "<h1>"):
        for text in (answer.text, str(answer.headers), log, proxy.stderr()):
            assert secret not in text


@pytest.mark.parametrize("kind", ["closed", "hole"])
def test_unreachable_address_is_not_named(proxy, client, providers, fresh, kind):
    answer = client.embed(fresh(kind), "hello", timeout=1)
    log = str(proxy.log_line(answer.headers["x-request-id"]))
    address = getattr(providers, kind).removeprefix("http://").removesuffix("/v1")
    assert answer.status in (502, 503, 504)
    assert not any(address in text for text in (answer.text, log, proxy.stderr()))
    assert "sk-unknown" not in answer.text + log + proxy.stderr()


def test_400_of_a_provider_keeps_its_message(client, upstream, model):
    upstream.always(refusals.status(400, "This model's maximum context length is 8192 tokens."))
    answer = client.embed(model, "hello")
    assert answer.status == 400
    assert "maximum context length is 8192 tokens" in answer.error["message"]
    assert answer.error["type"] == "invalid_request_error"


def test_retry_after_of_a_provider_is_passed_on(client, upstream, model):
    upstream.always(refusals.status(429, Retry_After="7"))
    answer = client.embed(model, "hello", timeout=20)
    assert answer.status == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 7


def test_429_without_retry_after_gets_one(client, upstream, model):
    upstream.always(refusals.status(429))
    assert int(client.embed(model, "hello", timeout=20).headers["retry-after"]) >= 1


def test_an_error_is_not_cached(client, upstream, model):
    upstream.script(refusals.status(400, "no"))
    assert client.embed(model, "once refused", caching=True).status == 400
    assert_answers(client.embed(model, "once refused", caching=True).json, ["once refused"], 32)
