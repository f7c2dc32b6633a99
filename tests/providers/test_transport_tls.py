"""TLS to providers: certificates are checked, and deadlines hold inside of it."""

import json
import time

import pytest

from app.errors import ConnectionFailed, ProviderError, ProviderTimeout
from app.providers.http import opening
from tests.providers.deadlines import LATE_S, SOON_S, assert_extended, until_one_succeeds
from tests.providers.http import (
    InThread,
    TlsUpstream,
    assert_embeds,
    call,
    embed_together,
    forward_proxy,
    make_certificate,
    provider_at,
    within,
    without_threads,
)
from tests.support import stalls
from tests.support.server import eventually
from tests.support.upstream import good
from tests.support.wire import chunked, head

LARGE = [f"text {i}" for i in range(1500)]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for 127.0.0.1."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "IP:127.0.0.1")


@pytest.fixture(scope="module")
def shared(certificate):
    """One provider for all tests here."""
    with TlsUpstream(*certificate) as upstream:
        yield upstream


@pytest.fixture
def provider(upstream, certificate):
    """The proxy's provider for it, which trusts the certificate."""
    return provider_at(upstream, ca_bundle=certificate[0])


def test_ca_bundle_is_used(upstream, provider):
    assert_embeds(provider, "a", "b")
    assert_embeds(provider, "c")
    first, second = upstream.calls
    assert first.connection == second.connection


@without_threads
def test_connection_is_made_where_no_further_thread_can_be_had(provider, no_threads, monkeypatch):
    """That is no fault of the provider, which would be ejected for it."""
    monkeypatch.setattr(opening, "_thread", no_threads)
    assert_embeds(provider, "a")


def test_without_ca_bundle_nothing_is_sent(upstream):
    with pytest.raises(ConnectionFailed) as caught:
        provider_at(upstream).embed(call(), within())
    assert caught.value.message == "failed the TLS handshake"
    assert not upstream.calls


def test_ca_bundle_of_the_environment_is_ignored(upstream, certificate, monkeypatch):
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, certificate[0])
    with pytest.raises(ConnectionFailed):
        provider_at(upstream).embed(call(), within())


def test_certificate_for_another_name_is_refused(tmp_path):
    certificate, key = make_certificate(tmp_path, "DNS:other.example")
    with TlsUpstream(certificate, key) as upstream:
        provider = provider_at(upstream, ca_bundle=certificate)
        with pytest.raises(ConnectionFailed, match="failed the TLS handshake"):
            provider.embed(call(), within())
        assert not upstream.calls


def test_provider_without_tls_is_a_failed_connection(upstream):
    with stalls.closed_port() as address, pytest.raises(ConnectionFailed):
        provider_at(address.replace("http:", "https:")).embed(call(), within())


def test_closed_connection_is_not_reused(upstream, provider):
    def and_close(exchange):
        good(exchange)
        exchange.last = True

    upstream.script(and_close)
    assert_embeds(provider)
    eventually(lambda: not upstream._open)
    assert_embeds(provider)
    first, second = upstream.calls
    assert first.connection != second.connection


def test_large_answers_are_read_on_one_connection(upstream, provider):
    for _ in range(2):
        assert_embeds(provider, *LARGE)
    assert len({call.connection for call in upstream.calls}) == 1


@pytest.mark.parametrize("texts", [["one"], LARGE], ids=["small", "large"])
def test_surplus_bytes_in_a_tls_record_are_not_the_next_answer(upstream, provider, texts):
    """One TLS record has the body and more: the rest is already read from the socket."""

    def and_more(exchange):
        body = json.dumps(exchange.answer()).encode()
        answer = head(200, {"Content-Length": str(len(body))})
        exchange.send(answer)
        time.sleep(0.05)  # otherwise both may be read at once
        exchange.send(body + answer + body)

    upstream.script(and_more)
    assert_embeds(provider, *texts)
    assert_embeds(provider, "two")
    assert len({call.connection for call in upstream.calls}) == 2


@pytest.mark.parametrize(
    "stall",
    [stalls.silence, stalls.drip_headers, stalls.drip_body, stalls.drip_chunks],
    ids=lambda stall: stall.__name__,
)
@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
def test_stall_is_cut_at_the_deadline(upstream, provider, stall, used):
    if used:
        assert_embeds(provider)
    upstream.script(stall)
    start = time.monotonic()
    with pytest.raises(ProviderTimeout):
        provider.embed(call(), within(SOON_S))
    assert SOON_S - 0.02 < time.monotonic() - start < SOON_S + LATE_S
    assert_embeds(provider)


def test_deadline_can_be_extended(upstream, provider):
    until_one_succeeds(lambda: assert_extended(upstream, provider))


def assert_ends_when_it_is_cancelled(upstream, provider):
    calls = len(upstream.calls)
    upstream.script(stalls.silence)
    deadline = within()
    task = InThread(provider, deadline)
    upstream.wait_for_calls(calls + 1)
    deadline.cancel()
    assert isinstance(task.join(LATE_S), ProviderError)


def test_cancellation_ends_a_blocked_call_at_once(upstream, provider):
    assert_ends_when_it_is_cancelled(upstream, provider)


def test_egress_proxy_is_used(upstream, certificate):
    seen = []
    with forward_proxy(seen) as address:
        provider = provider_at(upstream, ca_bundle=certificate[0], proxy=address)
        assert_embeds(provider, "a")
        assert_embeds(provider, "b")
    (line,) = seen  # the tunnel is used again
    assert line.startswith(f"CONNECT 127.0.0.1:{upstream.port} HTTP/1.")
    assert "authorization" not in line.lower()  # the key goes through it, not to it


def in_chunks(exchange):
    body = json.dumps(exchange.answer()).encode()
    exchange.send(head(200, {"Transfer-Encoding": "chunked"}) + chunked(body))


def test_egress_proxy_with_tls_is_used(upstream, certificate):
    with forward_proxy([], certificate) as address:
        provider = provider_at(upstream, ca_bundle=certificate[0], proxy=address)
        assert_embeds(provider, "one")
        assert_embeds(provider, "two")
        assert len({call.connection for call in upstream.calls}) == 1
        upstream.script(in_chunks)
        assert_embeds(provider, "three")
        assert_embeds(provider, *LARGE)
        assert_ends_when_it_is_cancelled(upstream, provider)


def test_stall_behind_an_egress_proxy_is_cut(upstream, certificate):
    with forward_proxy([]) as address:
        provider = provider_at(upstream, ca_bundle=certificate[0], proxy=address)
        upstream.script(stalls.drip_headers)
        start = time.monotonic()
        with pytest.raises(ProviderTimeout):
            provider.embed(call(), within(SOON_S))
        assert time.monotonic() - start < SOON_S + LATE_S


def test_concurrent_calls_are_answered(upstream, provider):
    embed_together(upstream, provider, 8)
    assert len({seen.connection for seen in upstream.calls}) == 8
