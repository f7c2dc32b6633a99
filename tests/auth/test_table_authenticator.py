"""The authenticator: order of the sources, blocked names, bound networks."""

from ipaddress import ip_address

import pytest

from app.auth.authenticator import Authenticator, Keyring, networks
from app.auth.blocklist import Blocklist
from app.config import KeySettings
from app.domain import Caller
from app.errors import KeyBlocked, KeysUnavailable, NetworkNotAllowed, Unauthorized
from tests.support.settings import KEY, KEYS, NARROW_KEY

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


def test_sources_are_tried_in_order():
    authenticator = Authenticator(
        KEYRING, [Source("a", "first"), Source("b", "second", "the last word")]
    )
    assert authenticator.identify(KEY)[0].name == "file"
    assert authenticator.identify("a")[0].name == "first"
    assert authenticator.identify("b")[0].name == "second"
    with pytest.raises(Unauthorized, match="the last word"):
        authenticator.identify("c")
    with pytest.raises(Unauthorized, match="Incorrect API key"):
        Authenticator(KEYRING).identify("c")


class Away:
    """A source that is unavailable."""

    def identify(self, key):
        raise KeysUnavailable("away")

    def recall(self, remembered, seal):
        raise KeysUnavailable("away")


def test_unavailable_source_is_skipped():
    for sources in ([Away(), Source("a", "first")], [Source("a", "first"), Away()]):
        authenticator = Authenticator(KEYRING, sources)
        assert authenticator.identify("a")[0].name == "first"
        assert authenticator.identify(KEY)[0].name == "file"
        with pytest.raises(KeysUnavailable):
            authenticator.identify("b")


def test_blocked_name_is_refused():
    authenticator = Authenticator(KEYRING, blocklist=Blocklist(["oidc:me"]))
    authenticator.check(Caller("me"), (), None)
    with pytest.raises(KeyBlocked) as caught:
        authenticator.check(Caller("oidc:me"), (), None)
    assert (caught.value.status, caught.value.code) == (403, "key_blocked")


def test_bound_key_is_refused_from_other_networks():
    authenticator, bound = Authenticator(KEYRING), networks(["10.0.0.0/8", "2001:db8::/32"])
    for address in ("10.1.2.3", "2001:db8::5"):
        authenticator.check(Caller("me"), bound, ip_address(address))
    for address in (ip_address("11.0.0.1"), None):
        with pytest.raises(NetworkNotAllowed):
            authenticator.check(Caller("me"), bound, address)


def seal(digest):
    """Stand for the keyed digest of a session."""
    return f"sealed {digest.hex()}"


def test_remembered_key_is_recalled_by_the_source_that_knows_it():
    other = Keyring([KeySettings("other", KEYS["narrow"]["sha256"])])
    authenticator = Authenticator(KEYRING, [other])
    for key, name in ((KEY, "file"), (NARROW_KEY, "other")):
        remembered = authenticator.remember(key, seal)
        assert key not in str(remembered)
        assert authenticator.recall(remembered, seal)[0].name == name
    with pytest.raises(Unauthorized):
        authenticator.remember("sk-wrong", seal)


@pytest.mark.parametrize("change", [{"name": "other"}, {"seal": "x"}, {"seal": None}])
def test_remembered_key_with_another_name_or_digest_is_refused(change):
    remembered = {**KEYRING.remember(KEY, seal), **change}
    with pytest.raises(Unauthorized):
        Authenticator(KEYRING).recall(remembered, seal)


def test_remembered_key_may_be_of_a_source_that_is_away():
    with pytest.raises(KeysUnavailable):
        Authenticator(KEYRING, [Away()]).recall({"name": "x", "seal": "y"}, seal)
