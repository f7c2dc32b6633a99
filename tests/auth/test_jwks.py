"""The keys of an identity provider: rotation, failures, bounds, tokens with invented ids."""

import json
import threading
import time
from collections import Counter
from http.client import IncompleteRead

import jwt
import pytest

from app.auth import jwks as module
from app.auth.jwks import Jwks
from app.auth.oidc import JwtAuthenticator
from app.config import OidcSettings
from app.errors import KeysUnavailable, Unauthorized
from tests.auth.oidc_tokens import OTHER, RSA, URL, document, public, token
from tests.support.server import eventually

SETTINGS = OidcSettings("https://id", ("proxy",), URL, claims={"name": "sub"})


class Provider:
    """Serves the JWKS: `data` is the document, or an exception to raise."""

    def __init__(self):
        self.data = document(public(RSA, "one"))
        self.fetches = 0
        self.open = threading.Event()  # answers wait until it is set
        self.open.set()

    def __call__(self, url):
        assert url == URL
        self.fetches += 1
        assert self.open.wait(60)
        if isinstance(self.data, Exception):
            raise self.data
        return self.data


@pytest.fixture
def provider():
    provider = Provider()
    yield provider
    provider.open.set()


@pytest.fixture
def start(provider):
    """Starts an authenticator, by default after a first fetch."""
    started = []

    def start(known=True, **options):
        jwks = Jwks(URL, 3600, provider, **{"min_interval_s": 0.05, "wait_s": 60, **options})
        started.append(jwks)
        jwks.start()
        if known:
            eventually(lambda: jwks.version)
        return JwtAuthenticator(SETTINGS, jwks)

    yield start
    for jwks in started:
        provider.open.set()
        jwks.stop()
        assert jwks._task.stop(20)


def identify_concurrently(tokens, given):
    """Identify the tokens concurrently; count each name or error status."""
    results = Counter()

    def ask(one):
        try:
            results[tokens.identify(one)[0].name] += 1
        except (Unauthorized, KeysUnavailable) as error:
            results[error.status] += 1

    threads = [threading.Thread(target=ask, args=(one,)) for one in given]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return results


def test_concurrent_tokens_of_a_new_key_are_accepted(provider, start):
    tokens = start()
    provider.data = document(public(OTHER, "new"))
    given = [token(OTHER, "new", jti=str(n)) for n in range(10)]
    assert identify_concurrently(tokens, given) == {"oidc:alice": 10}
    with pytest.raises(Unauthorized):
        tokens.identify(token())  # its key is gone
    assert provider.fetches <= 4


def test_token_waits_for_a_fetch_that_begins_after_it(provider, start):
    """The provider rotates its keys while a fetch returns the old ones."""
    tokens = start()
    provider.open.clear()
    stranger = threading.Thread(
        target=identify_concurrently, args=(tokens, [token(kid="invented")])
    )
    stranger.start()
    eventually(lambda: provider.fetches == 2)
    results = []
    good = threading.Thread(
        target=lambda: results.append(identify_concurrently(tokens, [token(OTHER, "new")]))
    )
    good.start()
    eventually(lambda: tokens._jwks._waiting == 2)
    tokens._jwks._get = lambda url: document(public(OTHER, "new"))  # from the next one on
    provider.open.set()
    good.join(20)
    stranger.join(20)
    assert results == [{"oidc:alice": 1}]


def test_invented_ids_do_not_block_a_new_key(provider, start):
    tokens = start()
    for n in range(3):
        assert identify_concurrently(tokens, [token(OTHER, f"invented-{n}")]) == {401: 1}
    provider.data = document(public(OTHER, "new"))
    assert identify_concurrently(tokens, [token(OTHER, "new")]) == {"oidc:alice": 1}


def test_invented_ids_cause_few_fetches(provider, start):
    tokens = start(min_interval_s=0.5)
    began = time.monotonic()
    for _ in range(2):
        given = [token(kid=f"invented-{n}") for n in range(30)]
        assert identify_concurrently(tokens, given) == {401: 30}
    assert provider.fetches <= 2 + (time.monotonic() - began) / 0.5


def test_missing_id_causes_no_second_fetch(provider, start):
    tokens = start()
    identify_concurrently(tokens, [token(kid="gone")])
    before = provider.fetches
    for _ in range(5):
        assert identify_concurrently(tokens, [token(kid="gone")]) == {401: 1}
    assert provider.fetches == before


def test_token_with_wrong_claims_causes_no_fetch(provider, start):
    tokens = start()
    for claims in ({"aud": "else"}, {"iss": "https://evil"}, {"exp": 5}, {"exp": None}):
        with pytest.raises(Unauthorized):
            tokens.identify(token(kid="invented", **claims))
    assert provider.fetches == 1


def test_number_of_waiting_requests_is_bounded(provider, start, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    tokens = start()
    provider.open.clear()
    waiting = threading.Thread(
        target=identify_concurrently, args=(tokens, [token(kid=f"invented-{n}") for n in range(3)])
    )
    waiting.start()
    eventually(lambda: tokens._jwks._waiting == 3)
    assert identify_concurrently(tokens, [token(kid="fourth")]) == {503: 1}
    assert identify_concurrently(tokens, [token()]) == {"oidc:alice": 1}
    provider.open.set()
    waiting.join(20)


def test_unavailable_provider_is_a_503_and_not_a_401(provider, start, caplog):
    good, provider.data = provider.data, OSError("refused")
    tokens = start(known=False)
    assert identify_concurrently(tokens, [token()]) == {503: 1}
    assert "cannot be read: OSError: refused" in caplog.text
    provider.data = good
    assert identify_concurrently(tokens, [token()]) == {"oidc:alice": 1}
    provider.data = OSError("away")
    assert identify_concurrently(tokens, [token(OTHER, "new")]) == {503: 1}
    assert identify_concurrently(tokens, [token(sub="bob")]) == {"oidc:bob": 1}  # the old keys stay


def test_wait_timeout_is_a_503_with_retry_after(provider, start):
    tokens = start(wait_s=0.05)
    provider.open.clear()
    with pytest.raises(KeysUnavailable) as caught:
        tokens.identify(token(kid="new"))
    assert (caught.value.status, caught.value.retry_after) == (503, 5)


@pytest.mark.parametrize(
    "data",
    [b"<html>", b"[]", b'{"keys": []}', b'{"keys": [5, {"kty": "??"}]}', b"\xff", b"[" * 10**5],
)
def test_invalid_document_keeps_the_keys(provider, start, data):
    tokens = start()
    provider.data = data
    tokens._jwks.update()
    assert tokens._jwks.version == 1
    tokens.identify(token())


ODD_KEYS = [
    5,
    None,
    {},
    {"kty": {}},
    {"kty": "RSA", "n": 5, "e": 5},
    {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
    {"kty": "EC", "crv": [], "x": 1},
    {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43},
    {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
    {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"},
    {**public(OTHER, "encryption"), "use": "enc"},
    {**public(OTHER, "odd"), "kid": {}},
]


@pytest.mark.parametrize("odd", ODD_KEYS)
def test_invalid_key_in_document_is_skipped(odd):
    good = public(RSA, "one")
    for entries in ([odd, good], [good, odd]):
        found = module.signing_keys(json.dumps({"keys": entries}).encode())
        assert found.keys() == {"one", None}
    with pytest.raises((ValueError, jwt.PyJWTError)):
        module.signing_keys(json.dumps({"keys": [odd]}).encode())


@pytest.mark.parametrize("error", [IncompleteRead(b"x", 5), ZeroDivisionError("a bug")])
def test_failed_fetch_does_not_end_the_task(provider, start, error):
    tokens = start()
    provider.data = error
    assert identify_concurrently(tokens, [token(OTHER, "new")]) == {503: 1}
    provider.data = document(public(OTHER, "new"))
    assert identify_concurrently(tokens, [token(OTHER, "new")]) == {"oidc:alice": 1}


def test_stop_ends_waiting_requests(provider, start):
    tokens = start()
    provider.open.clear()
    results = []
    waiting = threading.Thread(
        target=lambda: results.append(identify_concurrently(tokens, [token(kid="new")]))
    )
    waiting.start()
    eventually(lambda: tokens._jwks._waiting)
    tokens._jwks.stop()
    waiting.join(20)
    assert results == [{503: 1}]
