"""Answers over real sockets: unusual and broken ones, and errors."""

import json
import time
from contextlib import suppress

import pytest

from app.errors import (
    BrokenContract,
    ConnectionFailed,
    CredentialsRefused,
    NotServed,
    ProviderError,
    ProviderUnavailable,
    Rejected,
    Throttled,
)
from tests.providers.http import assert_embeds, call, connections, provider_at, within
from tests.support import refusals
from tests.support.upstream import good
from tests.support.wire import chunked, head
from tests.support.wrong_answers import BROKEN, UNUSUAL


@pytest.mark.parametrize("oddity", UNUSUAL)
def test_unusual_valid_answers_are_read(upstream, provider, oddity):
    upstream.always(UNUSUAL[oddity])
    assert_embeds(provider, "a", "b")


@pytest.mark.parametrize("lie", BROKEN)
def test_broken_answers_are_provider_errors(upstream, provider, lie):
    upstream.script(BROKEN[lie])
    with pytest.raises((BrokenContract, ConnectionFailed)):
        provider.embed(call(), within())
    with suppress(ConnectionFailed):  # its close may not have arrived yet
        assert_embeds(provider, "next")
    assert_embeds(provider, "after")


def body_of(exchange):
    return json.dumps(exchange.answer()).encode()


def after_hints(exchange):
    """Two interim answers before the answer."""
    for status in (103, 102):
        exchange.send(f"HTTP/1.1 {status} Wait\r\nLink: </a>\r\n\r\n".encode())
        time.sleep(0.02)
    good(exchange)


def late_body(status):
    """An answer whose status has no body, with a body."""

    def behaviour(exchange):
        body = body_of(exchange)
        exchange.send(head(status, {"Content-Length": str(len(body))}))
        time.sleep(0.02)
        exchange.send(head(200, {"Content-Length": str(len(body))}) + body)

    return behaviour


def and_more(exchange):
    """An answer in chunks, and in the same packet the beginning of another answer."""
    chunks = head(200, {"Transfer-Encoding": "chunked"}) + chunked(body_of(exchange))
    exchange.send(chunks + b"HTTP/1.1 200 OK\r\nContent-Le")


def chunks_of_a_length(exchange):
    body = chunked(body_of(exchange))
    exchange.send(
        head(200, {"Transfer-Encoding": "chunked", "Content-Length": str(len(body))}) + body
    )


def odd_length(exchange):
    """A length that Python's `int` accepts."""
    body = body_of(exchange)
    exchange.send(head(200, {"Content-Length": f"+{len(body)}"}) + body)


def coded_twice(exchange):
    """An answer with two framings: its end is ambiguous."""
    body = body_of(exchange)
    headers = {"Transfer-Encoding": "identity, chunked", "Content-Length": str(len(body))}
    exchange.send(head(200, headers) + body + head(200, {"Content-Length": str(len(body))}) + body)


def test_bytes_before_the_answer_are_not_the_answer(upstream, provider):
    upstream.script(after_hints)
    assert_embeds(provider, "one")
    assert_embeds(provider, "two")


@pytest.mark.parametrize(
    "odd",
    [late_body(204), late_body(304), coded_twice, chunks_of_a_length, odd_length, and_more],
    ids=["204", "304", "twice", "chunks of a length", "odd length", "more"],
)
def test_connection_is_not_reused_after_an_ambiguous_end(upstream, provider, odd):
    upstream.script(odd)
    with suppress(ProviderError):
        provider.embed(call("one"), within())
    assert_embeds(provider, "two")
    assert len(set(connections(upstream))) == 2


def chunk_of(size):
    head_ = head(200, {"Transfer-Encoding": "chunked"})
    return lambda exchange: exchange.send(head_ + b"1\r\n{\r\n" + size + b"\r\n" + b" " * 4096)


@pytest.mark.parametrize("size", [b"-1", b"-5", b"+"])
def test_chunk_without_size_is_a_broken_answer(upstream, provider, size):
    upstream.script(chunk_of(size))
    with pytest.raises((BrokenContract, ConnectionFailed)):
        provider.embed(call(), within())
    assert_embeds(provider, "after")


def test_head_that_the_library_refuses_is_a_broken_answer(upstream, provider):
    lines = {"Content-Type": "multipart/mixed; boundary*=\x00'en'a", "Content-Length": "0"}
    upstream.script(lambda exchange: exchange.send(head(200, lines)))
    with pytest.raises((BrokenContract, ConnectionFailed)):
        provider.embed(call(), within())
    assert_embeds(provider, "after")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Rejected),
        (401, CredentialsRefused),
        (403, CredentialsRefused),
        (429, Throttled),
        (500, ProviderUnavailable),
        (404, NotServed),
    ],
)
def test_error_message_has_no_key_and_address(upstream, provider, status, error):
    upstream.script(refusals.status(status, Retry_After="3"), refusals.page(status))
    for _ in range(2):
        with pytest.raises(error) as caught:
            provider.embed(call(), within())
        for secret in (upstream.api_key, str(upstream.port), "127.0.0.1", "html"):
            assert secret not in caught.value.message


@pytest.mark.parametrize("name", ["127.0.0.1", "X-SECRET-VALUE"])
def test_error_message_has_no_host_and_header_values(upstream, name):
    provider = provider_at(upstream, headers={"X-Api": "X-SECRET-VALUE"})
    upstream.script(refusals.status(400, f"The backend {name} refused."))
    with pytest.raises(Rejected) as caught:
        provider.embed(call(), within())
    assert caught.value.message == "The backend [redacted] refused."


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_redirects_are_not_followed(upstream, provider, code):
    upstream.script(refusals.redirect(upstream.base_url + "/embeddings", code))
    with pytest.raises(BrokenContract, match=f"answered with status {code}"):
        provider.embed(call(), within())
    assert len(upstream.calls) == 1
