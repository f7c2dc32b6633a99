"""The door: the settings' keys first, then the other sources; and from where a key may come."""

from ipaddress import ip_address

import pytest

from app.auth.authenticator import Authenticator, networks
from app.auth.keys import Keyring
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
    door = Authenticator(KEYRING, [Source("a", "first"), Source("b", "second", "the last word")])
    assert door.identify(KEY)[0].name == "file"
    assert door.identify("a")[0].name == "first"
    assert door.identify("b")[0].name == "second"
    with pytest.raises(Unauthorized, match="the last word"):
        door.identify("c")
    with pytest.raises(Unauthorized, match="Incorrect API key"):
        Authenticator(KEYRING).identify("c")


class Away:
    """A source that cannot tell."""

    def identify(self, key):
        raise KeysUnavailable("away")


def test_a_source_that_is_away_is_passed_over():
    for sources in ([Away(), Source("a", "first")], [Source("a", "first"), Away()]):
        door = Authenticator(KEYRING, sources)
        assert door.identify("a")[0].name == "first"
        assert door.identify(KEY)[0].name == "file"
        with pytest.raises(KeysUnavailable):
            door.identify("b")


def test_the_blocked_are_turned_away_whatever_they_are_known_by():
    door = Authenticator(KEYRING, blocked=["oidc:me"])
    door.check(Caller("me"), (), None)
    with pytest.raises(KeyBlocked) as caught:
        door.check(Caller("oidc:me"), (), None)
    assert (caught.value.status, caught.value.code) == (403, "key_blocked")


def test_a_key_bound_to_networks_opens_from_there_alone():
    door, bound = Authenticator(KEYRING), networks(["10.0.0.0/8", "2001:db8::/32"])
    for address in ("10.1.2.3", "2001:db8::5"):
        door.check(Caller("me"), bound, ip_address(address))
    for address in (ip_address("11.0.0.1"), None):
        with pytest.raises(NetworkNotAllowed):
            door.check(Caller("me"), bound, address)
