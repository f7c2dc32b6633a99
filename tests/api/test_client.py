"""The client address used by key checks, /metrics and logs."""

import json
import logging
from io import StringIO

import pytest

from app.api.client import ClientAddresses
from app.auth.authenticator import networks
from tests.api.fake import app_with, ask


@pytest.mark.parametrize(
    ("remote", "forwarded", "expected"),
    [
        ("9.9.9.9", "1.1.1.1", "9.9.9.9"),
        ("10.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "1.1.1.1, 10.0.0.2", "1.1.1.1"),
        ("10.0.0.1", "1.1.1.1, ,10.0.0.2,", "1.1.1.1"),
        ("10.0.0.1", "10.0.0.3", "10.0.0.3"),
        ("", "1.1.1.1", "1.1.1.1"),  # a Unix socket
        ("", "", None),
        ("10.0.0.1", "1.1.1.1:80", None),
    ],
)
def test_client_address_is_the_last_before_trusted_proxies(remote, forwarded, expected):
    environ = {"REMOTE_ADDR": remote, "HTTP_X_FORWARDED_FOR": forwarded}
    found = ClientAddresses(["10.0.0.0/8"]).find(environ)
    assert (None if found is None else str(found)) == expected


def test_star_trusts_every_proxy():
    environ = {"REMOTE_ADDR": "9.9.9.9", "HTTP_X_FORWARDED_FOR": "1.1.1.1, 8.8.8.8"}
    assert str(ClientAddresses(["*"]).find(environ)) == "1.1.1.1"


def test_ipv4_mapped_in_ipv6_is_ipv4():
    assert str(ClientAddresses().find({"REMOTE_ADDR": "::ffff:10.0.0.1"})) == "10.0.0.1"


@pytest.mark.parametrize(
    ("remote", "headers", "expected"),
    [
        ("10.0.0.1", {}, True),
        ("11.0.0.1", {}, False),
        ("", {}, True),  # a Unix socket
        ("", {"X_FORWARDED_FOR": "11.0.0.1"}, False),
        ("10.0.0.1", {"X_FORWARDED_FOR": "10.0.0.2"}, True),
        ("10.0.0.1", {"X_FORWARDED_FOR": "11.0.0.1"}, False),
        ("10.0.0.1", {"X_FORWARDED_FOR": "unknown"}, False),
        ("10.0.0.1", {"FORWARDED": "for=10.0.0.2"}, False),
        # A peer that nothing says is a proxy: what it names proves nothing.
        ("10.0.0.9", {"X_FORWARDED_FOR": "10.0.0.2"}, False),
        ("11.0.0.1", {"X_FORWARDED_FOR": "10.0.0.2"}, False),
    ],
)
def test_peer_and_client_must_both_be_in_the_networks(remote, headers, expected):
    environ = {"REMOTE_ADDR": remote, **{f"HTTP_{name}": v for name, v in headers.items()}}
    addresses = ClientAddresses(["10.0.0.1"])
    assert addresses.are_within(networks(["10.0.0.0/8"]), environ) is expected


def test_trusting_every_proxy_does_not_admit_other_peers():
    environ = {"REMOTE_ADDR": "9.9.9.9", "HTTP_X_FORWARDED_FOR": "127.0.0.1"}
    assert not ClientAddresses(["*"]).are_within(networks(["127.0.0.0/8"]), environ)


@pytest.mark.parametrize(
    ("remote", "expected"),
    [("127.0.0.1", "192.0.2.7"), ("192.0.2.9", "192.0.2.9"), ("", "192.0.2.7")],
)
def test_the_log_names_the_client(monkeypatch, provider, remote, expected):
    client = app_with(monkeypatch, provider, TRUSTED_PROXIES=["127.0.0.1"])
    stream = logging.getLogger("app").handlers[0].stream = StringIO()
    client.environ_base["REMOTE_ADDR"] = remote
    client.environ_base["HTTP_X_FORWARDED_FOR"] = "192.0.2.7"
    ask(client)
    assert json.loads(stream.getvalue())["client"] == expected


@pytest.mark.parametrize(
    ("peer", "told", "expected"),
    [
        ("127.0.0.1", "https", True),
        ("127.0.0.1", "https, http", True),  # two proxies: the client spoke to the first one
        ("127.0.0.1", " HTTPS ,http", True),
        ("127.0.0.1", "http, https", False),
        ("127.0.0.1", "", False),
        ("192.0.2.1", "https", False),
    ],
)
def test_https_is_what_a_trusted_proxy_says_of_the_client(peer, told, expected):
    environ = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_PROTO": told, "wsgi.url_scheme": "http"}
    assert ClientAddresses(["127.0.0.1"]).uses_https(environ) is expected
