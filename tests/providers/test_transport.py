"""HTTP to providers over real sockets: connections, headers, proxies, sizes, errors."""

import threading

import pytest

from app.config import ProviderSettings
from app.errors import ConnectionFailed, ProviderError
from app.providers.http import sockets, transport
from app.providers.http.transport import session
from tests.providers.http import (
    assert_embeds,
    call,
    connections,
    forward_proxy,
    provider_at,
    within,
)
from tests.support import refusals, stalls
from tests.support.server import eventually
from tests.support.upstream import good
from tests.support.wire import head


def test_connection_is_reused(upstream, provider):
    for n in range(3):
        assert_embeds(provider, f"text {n}", "other")
    assert len(set(connections(upstream))) == 1


@pytest.mark.parametrize("concurrency", [1, 64, 10**12])
def test_connections_are_kept_for_all_calls_at_once_within_a_bound(upstream, concurrency):
    """urllib3 makes a place for each when it is first used: ten million would take seconds."""
    provider = provider_at(upstream, concurrency=concurrency)
    kept = provider._adapter.poolmanager.connection_pool_kw["maxsize"]
    assert kept == min(concurrency, 10_000)


@pytest.mark.parametrize(("length", "writes"), [(10, 1), (200_000, 2)])
def test_short_request_is_sent_in_one_write(provider, monkeypatch, length, writes):
    send, seen = sockets.DeadlineSocket.sendall, []

    def sendall(sock, data):
        seen.append(len(data))
        send(sock, data)

    monkeypatch.setattr(sockets.DeadlineSocket, "sendall", sendall)
    for _ in range(2):  # also on a connection that is there already
        seen.clear()
        assert_embeds(provider, "x" * length)
        assert len(seen) == writes


@pytest.mark.parametrize("status", [400, 429, 503])
def test_connection_is_reused_after_an_error(upstream, provider, status):
    upstream.script(refusals.status(status))
    with pytest.raises(ProviderError):
        provider.embed(call(), within())
    assert_embeds(provider)
    assert len(set(connections(upstream))) == 1


def test_closed_connection_is_not_reused(upstream, provider):
    def and_close(exchange):
        good(exchange)
        exchange.last = True

    upstream.always(and_close)
    for n in range(3):
        assert_embeds(provider, f"text {n}")
        eventually(lambda: not upstream._open)
    assert len(set(connections(upstream))) == 3


def test_connection_with_unexpected_bytes_is_not_reused(upstream, provider):
    answered, spoken = threading.Event(), threading.Event()

    def and_another(exchange):
        good(exchange)
        assert answered.wait(5)
        exchange.send(head(408, {"Content-Length": "0"}))
        spoken.set()

    upstream.script(and_another)
    assert_embeds(provider)
    answered.set()
    assert spoken.wait(5)
    assert_embeds(provider)
    assert len(set(connections(upstream))) == 2


def test_request_is_sent_exactly(upstream):
    assert_embeds(provider_at(upstream, headers={"X-Team": "search", "accept": "text/json"}))
    (seen,) = upstream.calls
    assert seen.path == "/v1/embeddings"
    assert seen.headers.pop("host") == f"127.0.0.1:{upstream.port}"
    assert int(seen.headers.pop("content-length")) > 0
    accept = seen.headers.pop("accept")
    assert accept in ("text/json", "application/json, text/json", "application/json")
    assert seen.headers == {
        "content-type": "application/json",
        "accept-encoding": "identity",
        "user-agent": "embeddings-proxy",
        "authorization": f"Bearer {upstream.api_key}",
        "x-team": "search",
    }


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("http://a.test/v1", "a.test"),
        ("http://a.test:80/v1", "a.test"),
        ("https://a.test:443", "a.test"),
        ("https://a.test:80", "a.test:80"),
        ("http://a.svc.cluster.local.:8000/v1", "a.svc.cluster.local:8000"),
        ("http://me:secret@a.test:8000", "a.test:8000"),
        ("http://[::1]:8000/v1", "[::1]:8000"),
        ("http://[fe80::1%25eth0]/v1", "[fe80::1]"),
        ("http://b\u00fccher.test", "xn--bcher-kva.test"),
    ],
)
def test_host_header_is_that_of_the_url(address, host):
    assert transport._host(address) == host


def test_headers_of_the_settings_override_defaults(upstream):
    assert_embeds(provider_at(upstream, headers={"User-Agent": "us/1"}))
    assert upstream.calls[0].headers["user-agent"] == "us/1"


def test_slash_at_the_end_of_base_url_is_ignored(upstream):
    assert_embeds(provider_at(upstream, base_url=upstream.base_url + "/"))
    assert upstream.calls[0].path == "/v1/embeddings"


def test_default_url_is_that_of_the_format(monkeypatch):
    provider = provider_at("unused", base_url=None)
    assert provider._base_url == "https://api.openai.com/v1"


def test_limits_are_those_of_the_format(provider):
    assert provider.limits("any") == provider.capabilities
    assert provider.capabilities.max_inputs == 2048


def test_environment_is_not_used(upstream, monkeypatch, tmp_path):
    with stalls.closed_port() as nowhere:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, nowhere)
            monkeypatch.setenv(name.lower(), nowhere)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none"))
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        assert_embeds(provider_at(upstream))
    assert upstream.calls[0].headers["authorization"] == f"Bearer {upstream.api_key}"


def test_egress_proxy_is_used(upstream, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    seen = []
    with forward_proxy(seen) as address:
        provider = provider_at(upstream, proxy=address.replace("//", "//me:secret@"))
        assert_embeds(provider, "one")
        assert_embeds(provider, "two")
    assert seen[0].startswith(f"POST {upstream.base_url}/embeddings HTTP/1.1\r\n")
    assert "proxy-authorization: basic bwu6c2vjcmv0" in seen[0].lower()
    assert len(seen) == 1  # its connection is used again
    assert len(upstream.calls) == 2


def test_unreachable_egress_proxy_is_a_failed_connection(upstream):
    with stalls.closed_port() as nowhere:
        provider = provider_at(upstream, proxy=nowhere.removesuffix("/v1"))
        with pytest.raises(ConnectionFailed):
            provider.embed(call(), within())
    assert not upstream.calls


@pytest.mark.parametrize("scheme", ["Bearer {}", "{}", "AWS4-HMAC-SHA256 {}"])
def test_fetched_token_is_removed_from_messages(upstream, scheme):
    """It is in no setting and has no known form."""
    token = "opaque+Token/of=NoKnown.Form"
    provider = provider_at(upstream, api_key=None)
    provider._wire._headers = {"Authorization": scheme.format(token)}
    upstream.script(
        refusals.status(400, f"The token {token} may not use model x (Bearer {token}).")
    )
    with pytest.raises(ProviderError) as raised:
        provider.embed(call(), within())
    assert token not in raised.value.message
    assert raised.value.message.startswith("The token [redacted] may not use model x")


def test_session_for_credentials_uses_the_same_settings(tmp_path):
    plain = session(ProviderSettings("p", "openai"))
    assert (plain.trust_env, plain.verify, plain.proxies) == (False, True, {})
    bundle = str(tmp_path / "ca.pem")
    made = session(ProviderSettings("p", "openai", proxy="http://egress:1", ca_bundle=bundle))
    assert made.verify == bundle
    assert made.proxies == {"http": "http://egress:1", "https": "http://egress:1"}
