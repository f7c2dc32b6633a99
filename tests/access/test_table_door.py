"""The door: the settings' keys first, then the other sources; and from where a key may come."""

import pytest

from app.access.door import Door, client_address, networks
from app.access.keys import Keyring
from app.config import KeySettings
from app.domain import Caller
from app.errors import KeyBlocked, KeysUnavailable, NetworkNotAllowed, Unauthorized
from tests.support.settings import KEY, KEYS

KEYRING = Keyring([KeySettings("file", KEYS["tests"]["sha256"])])


class Source:
    """Knows one key."""

    def __init__(self, key, name, message="unknown here", bound_to=()):
        self.key, self.message = key, message
        self.answer = (Caller(name), networks(bound_to))

    def identify(self, key):
        if key != self.key:
            raise Unauthorized(self.message)
        return self.answer


def test_each_source_is_asked_until_one_knows():
    door = Door(KEYRING, [Source("a", "first"), Source("b", "second", "the last word")])
    assert door.identify(KEY)[0].name == "file"
    assert door.identify("a")[0].name == "first"
    assert door.identify("b")[0].name == "second"
    with pytest.raises(Unauthorized, match="the last word"):
        door.identify("c")
    with pytest.raises(Unauthorized, match="Incorrect API key"):
        Door(KEYRING).identify("c")


class Away:
    """A source that cannot tell."""

    def identify(self, key):
        raise KeysUnavailable("away")


def test_a_source_that_is_away_is_passed_over():
    for sources in ([Away(), Source("a", "first")], [Source("a", "first"), Away()]):
        door = Door(KEYRING, sources)
        assert door.identify("a")[0].name == "first"
        assert door.identify(KEY)[0].name == "file"
        with pytest.raises(KeysUnavailable):
            door.identify("b")


def test_the_blocked_are_turned_away_whatever_they_are_known_by():
    door = Door(KEYRING, blocked=["oidc:me"])
    door.check(Caller("me"), (), {})
    with pytest.raises(KeyBlocked) as caught:
        door.check(Caller("oidc:me"), (), {})
    assert (caught.value.status, caught.value.code) == (403, "key_blocked")


def test_a_key_bound_to_networks_opens_from_there_alone():
    door = Door(KEYRING, trusted_proxies=["127.0.0.1"])
    bound = networks(["10.0.0.0/8", "2001:db8::/32"])
    for address in ("10.1.2.3", "2001:db8::5", "::ffff:10.0.0.1"):
        door.check(Caller("me"), bound, {"REMOTE_ADDR": address})
        through = {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": f"6.6.6.6, {address}"}
        door.check(Caller("me"), bound, through)
    for environ in (
        {"REMOTE_ADDR": "11.0.0.1"},
        {"REMOTE_ADDR": "11.0.0.1", "HTTP_X_FORWARDED_FOR": "10.0.0.1"},  # its own word
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "10.0.0.1, 11.0.0.1"},
        {"REMOTE_ADDR": "127.0.0.1"},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "10.0.0.1, unknown"},
        {},
    ):
        with pytest.raises(NetworkNotAllowed):
            door.check(Caller("me"), bound, environ)


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
    found = client_address(environ, networks(["10.0.0.0/8"]))
    assert (None if found is None else str(found)) == expected


def test_any_proxy_is_any():
    environ = {"REMOTE_ADDR": "9.9.9.9", "HTTP_X_FORWARDED_FOR": "1.1.1.1, 8.8.8.8"}
    assert str(client_address(environ, networks(["*"]))) == "1.1.1.1"
