"""The address of a client: for keys, /metrics and the log."""

import json
import logging
from io import StringIO

import pytest

from app.api.client_address import ClientAddresses
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
def test_the_clients_address_is_what_the_last_trusted_proxy_says(remote, forwarded, expected):
    environ = {"REMOTE_ADDR": remote, "HTTP_X_FORWARDED_FOR": forwarded}
    found = ClientAddresses(["10.0.0.0/8"]).find(environ)
    assert (None if found is None else str(found)) == expected


def test_any_proxy_is_any():
    environ = {"REMOTE_ADDR": "9.9.9.9", "HTTP_X_FORWARDED_FOR": "1.1.1.1, 8.8.8.8"}
    assert str(ClientAddresses(["*"]).find(environ)) == "1.1.1.1"


def test_ipv4_in_ipv6_is_ipv4():
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
def test_peer_and_client_both_have_to_be_in_the_networks(remote, headers, expected):
    environ = {"REMOTE_ADDR": remote, **{f"HTTP_{name}": v for name, v in headers.items()}}
    addresses = ClientAddresses(["10.0.0.1"])
    assert addresses.are_within(networks(["10.0.0.0/8"]), environ) is expected


def test_any_proxy_opens_nothing_to_a_peer_that_is_elsewhere():
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
