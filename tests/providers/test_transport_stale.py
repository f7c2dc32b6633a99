"""A call on a kept connection that the provider closes is sent again, once, on a new one."""

import time

import pytest

from app.errors import ConnectionFailed, ProviderError, ProviderTimeout
from tests.providers.deadlines import LATE_S, SOON_S
from tests.providers.http import (
    WIDTH,
    InThread,
    TlsUpstream,
    assert_embeds,
    call,
    connections,
    embed_together,
    forward_proxy,
    make_certificate,
    provider_at,
    within,
)
from tests.support import stalls
from tests.support.upstream import Upstream, good


@pytest.fixture(scope="module", params=["in the clear", "TLS", "TLS through an egress proxy"])
def both(request, tmp_path_factory):
    """A provider, and the settings to call it."""
    if request.param == "in the clear":
        with Upstream(WIDTH) as upstream:
            yield upstream, {}
        return
    certificate = make_certificate(tmp_path_factory.mktemp("tls"), "IP:127.0.0.1")
    with TlsUpstream(*certificate) as upstream, forward_proxy([]) as proxy:
        reached = {"proxy": proxy} if "proxy" in request.param else {}
        yield upstream, {"ca_bundle": certificate[0], **reached}


@pytest.fixture
def upstream(both):
    """The provider, reset."""
    both[0].reset()
    yield both[0]
    both[0].reset()


@pytest.fixture
def provider(both, upstream):
    """The proxy's provider for it."""
    return provider_at(upstream, **both[1])


def close(exchange):
    """Read the request and close the connection without a byte."""
    exchange.last = True


def test_call_is_repeated_on_a_new_connection(upstream, provider):
    upstream.script(good, close)
    assert_embeds(provider, "one")
    assert_embeds(provider, "two")
    first, second, third = connections(upstream)
    assert first == second != third
    assert upstream.calls[1].body == upstream.calls[2].body


def test_long_request_is_repeated(upstream, provider):
    upstream.script(good, close)
    assert_embeds(provider, "one")
    assert_embeds(provider, "x" * 2_000_000)
    assert len(upstream.calls) == 3


def test_call_is_repeated_only_once(upstream, provider):
    upstream.script(good, close, close)
    assert_embeds(provider)
    with pytest.raises(ConnectionFailed):
        provider.embed(call(), within())
    assert len(upstream.calls) == 3


def test_call_on_a_new_connection_is_not_repeated(upstream, provider):
    upstream.script(close)
    with pytest.raises(ConnectionFailed):
        provider.embed(call(), within())
    assert len(upstream.calls) == 1


@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_call_is_not_repeated_after_the_first_byte_of_an_answer(upstream, provider, begun):
    def begin_and_close(exchange):
        exchange.send(begun)
        exchange.last = True

    upstream.script(good, begin_and_close)
    assert_embeds(provider)
    with pytest.raises(ConnectionFailed):
        provider.embed(call(), within())
    assert len(upstream.calls) == 2


def test_call_is_not_repeated_after_a_cancellation(upstream, provider):
    upstream.script(good, stalls.silence)
    assert_embeds(provider)
    deadline = within()
    task = InThread(provider, deadline)
    upstream.wait_for_calls(2)
    deadline.cancel()
    assert isinstance(task.join(LATE_S), ProviderError)
    assert_embeds(provider)
    assert len(upstream.calls) == 3  # this one, and the two above


def test_call_is_not_repeated_after_the_deadline(upstream, provider):
    upstream.script(good, stalls.silence)
    assert_embeds(provider)
    with pytest.raises(ProviderTimeout):
        provider.embed(call(), within(SOON_S))
    assert_embeds(provider)
    assert len(upstream.calls) == 3  # this one, and the two above


def test_repeated_call_ends_by_the_deadline(upstream, provider):
    upstream.script(good, close, stalls.silence)
    assert_embeds(provider)
    start = time.monotonic()
    with pytest.raises(ProviderTimeout):
        provider.embed(call(), within(SOON_S))
    assert time.monotonic() - start < SOON_S + LATE_S
    assert len(upstream.calls) == 3


def test_repeated_call_uses_no_other_kept_connection(upstream, provider):
    """A provider that restarts closes all of them."""
    embed_together(upstream, provider, 4)
    kept = set(connections(upstream))
    assert len(kept) == 4

    def restarted(exchange):
        (close if exchange.call.connection in kept else good)(exchange)

    upstream.always(restarted)
    assert_embeds(provider, "again")
    assert len(upstream.calls) == 6
    assert upstream.calls[-1].connection not in kept


def test_no_call_fails_if_the_provider_closes_soon_after_each_answer(upstream, provider):
    def and_close_soon(exchange):
        good(exchange)
        time.sleep(0.001)
        exchange.last = True

    upstream.always(and_close_soon)
    for n in range(400):
        assert_embeds(provider, f"text {n}")
    assert len(upstream.calls) >= 400
