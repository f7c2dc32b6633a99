"""Keys of an identity provider: rotated, away, cut short, and asked for by strangers."""

import json
import socket
import threading
import time
from collections import Counter
from http.client import IncompleteRead
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest

from app.auth import jwks as module
from app.auth.jwks import Jwks
from app.auth.jwks_fetch import fetch
from app.auth.oidc import JwtAuthenticator
from app.config import OidcSettings
from app.errors import KeysUnavailable, Unauthorized
from tests.auth.oidc_tokens import OTHER, RSA, URL, document, public, token
from tests.support.server import eventually

SETTINGS = OidcSettings("https://id", ("proxy",), URL, claims={"name": "sub"})


class Provider:
    """The identity provider's JWKS: `data` is a document, or an error to be raised."""

    def __init__(self):
        self.data = document(public(RSA, "one"))
        self.asked = 0
        self.open = threading.Event()  # answers wait until it is set
        self.open.set()

    def __call__(self, url):
        assert url == URL
        self.asked += 1
        assert self.open.wait(10)
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
    """Starts a source of callers, by default after a fetch."""
    started = []

    def start(known=True, **options):
        jwks = Jwks(URL, 3600, provider, **{"min_interval": 0.05, "wait": 5, **options})
        started.append(jwks)
        jwks.start()
        if known:
            eventually(lambda: jwks.version)
        return JwtAuthenticator(SETTINGS, jwks)

    yield start
    for jwks in started:
        provider.open.set()
        jwks.stop()
        jwks._thread.join(5)
        assert not jwks._thread.is_alive()


def asked_at_once(tokens, given):
    """How often each result comes, where so many threads ask at once."""
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
        thread.join(10)
    return results


def test_all_good_tokens_of_a_new_key_pass_at_once(provider, start):
    tokens = start()
    provider.data = document(public(OTHER, "new"))
    given = [token(OTHER, "new", jti=str(n)) for n in range(10)]
    assert asked_at_once(tokens, given) == {"oidc:alice": 10}
    with pytest.raises(Unauthorized):
        tokens.identify(token())  # its key is gone
    assert provider.asked <= 4


def test_a_fetch_that_began_before_a_token_came_does_not_decide_on_it(provider, start):
    """The provider rotates its keys while it answers with the old ones."""
    tokens = start()
    provider.open.clear()
    stranger = threading.Thread(target=asked_at_once, args=(tokens, [token(kid="invented")]))
    stranger.start()
    eventually(lambda: provider.asked == 2)
    results = []
    good = threading.Thread(
        target=lambda: results.append(asked_at_once(tokens, [token(OTHER, "new")]))
    )
    good.start()
    eventually(lambda: tokens._jwks._waiting == 2)
    tokens._jwks._get = lambda url: document(public(OTHER, "new"))  # from the next one on
    provider.open.set()
    good.join(10)
    stranger.join(10)
    assert results == [{"oidc:alice": 1}]


def test_a_stranger_s_id_does_not_use_up_the_fetch(provider, start):
    tokens = start()
    for n in range(3):
        assert asked_at_once(tokens, [token(OTHER, f"invented-{n}")]) == {401: 1}
    provider.data = document(public(OTHER, "new"))
    assert asked_at_once(tokens, [token(OTHER, "new")]) == {"oidc:alice": 1}


def test_invented_ids_cause_few_fetches(provider, start):
    tokens = start(min_interval=0.5)
    began = time.monotonic()
    for _ in range(2):
        given = [token(kid=f"invented-{n}") for n in range(30)]
        assert asked_at_once(tokens, given) == {401: 30}
    assert provider.asked <= 2 + (time.monotonic() - began) / 0.5


def test_an_id_that_was_not_found_is_not_looked_for_again_at_once(provider, start):
    tokens = start()
    asked_at_once(tokens, [token(kid="gone")])
    before = provider.asked
    for _ in range(5):
        assert asked_at_once(tokens, [token(kid="gone")]) == {401: 1}
    assert provider.asked == before


def test_a_token_that_is_wrong_anyway_causes_no_fetch(provider, start):
    tokens = start()
    for claims in ({"aud": "else"}, {"iss": "https://evil"}, {"exp": 5}, {"exp": None}):
        with pytest.raises(Unauthorized):
            tokens.identify(token(kid="invented", **claims))
    assert provider.asked == 1


def test_only_so_many_wait(provider, start, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    tokens = start()
    provider.open.clear()
    waiting = threading.Thread(
        target=asked_at_once, args=(tokens, [token(kid=f"invented-{n}") for n in range(3)])
    )
    waiting.start()
    eventually(lambda: tokens._jwks._waiting == 3)
    assert asked_at_once(tokens, [token(kid="fourth")]) == {503: 1}
    assert asked_at_once(tokens, [token()]) == {"oidc:alice": 1}
    provider.open.set()
    waiting.join(10)


def test_while_the_provider_is_away_nobody_is_called_wrong(provider, start, caplog):
    good, provider.data = provider.data, OSError("refused")
    tokens = start(known=False)
    assert asked_at_once(tokens, [token()]) == {503: 1}
    assert "cannot be read: OSError: refused" in caplog.text
    provider.data = good
    assert asked_at_once(tokens, [token()]) == {"oidc:alice": 1}
    provider.data = OSError("away")
    assert asked_at_once(tokens, [token(OTHER, "new")]) == {503: 1}
    assert asked_at_once(tokens, [token(sub="bob")]) == {"oidc:bob": 1}  # the old keys stay


def test_one_who_waits_too_long_is_told_to_come_back(provider, start):
    tokens = start(wait=0.05)
    provider.open.clear()
    with pytest.raises(KeysUnavailable) as caught:
        tokens.identify(token(kid="new"))
    assert (caught.value.status, caught.value.retry_after) == (503, 5)


@pytest.mark.parametrize(
    "data",
    [b"<html>", b"[]", b'{"keys": []}', b'{"keys": [5, {"kty": "??"}]}', b"\xff", b"[" * 10**5],
)
def test_what_is_no_set_of_keys_changes_nothing(provider, start, data):
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
def test_an_odd_key_does_not_hide_the_others(odd):
    good = public(RSA, "one")
    for entries in ([odd, good], [good, odd]):
        found = module.signing_keys(json.dumps({"keys": entries}).encode())
        assert found.keys() == {"one", None}
    with pytest.raises((ValueError, jwt.PyJWTError)):
        module.signing_keys(json.dumps({"keys": [odd]}).encode())


@pytest.mark.parametrize("error", [IncompleteRead(b"x", 5), ZeroDivisionError("a bug")])
def test_the_thread_survives_whatever_a_fetch_meets(provider, start, error):
    tokens = start()
    provider.data = error
    assert asked_at_once(tokens, [token(OTHER, "new")]) == {503: 1}
    provider.data = document(public(OTHER, "new"))
    assert asked_at_once(tokens, [token(OTHER, "new")]) == {"oidc:alice": 1}


def test_a_token_that_waits_as_the_process_ends_is_not_held(provider, start):
    tokens = start()
    provider.open.clear()
    results = []
    waiting = threading.Thread(
        target=lambda: results.append(asked_at_once(tokens, [token(kid="new")]))
    )
    waiting.start()
    eventually(lambda: tokens._jwks._waiting)
    tokens._jwks.stop()
    waiting.join(2)
    assert results == [{503: 1}]


# Over HTTP


@pytest.fixture
def server():
    """The address of a server whose answers are odd."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status = 302 if self.path == "/moved" else 200
            self.send_response(status)
            self.send_header("Location", "/ok")
            if self.path == "/cut":
                self.send_header("Content-Length", "100")
            self.end_headers()
            if self.path == "/big":
                self.wfile.write(b"x" * (2**20 + 1))
            elif self.path == "/drip":
                try:
                    while True:
                        self.wfile.write(b"x")
                        time.sleep(0.05)
                except OSError:
                    pass
            else:
                self.wfile.write(b"keys")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_document_is_fetched_within_bounds(server):
    assert fetch(f"{server}/ok") == b"keys"
    with pytest.raises(ValueError, match="too large"):
        fetch(f"{server}/big")
    with pytest.raises(OSError, match="302"):
        fetch(f"{server}/moved")
    with pytest.raises(IncompleteRead):
        fetch(f"{server}/cut")


def test_an_answer_that_drips_is_cut(server):
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        fetch(f"{server}/drip", limit_s=0.3)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_head_or_a_handshake_that_drips_is_cut(scheme):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            fetch(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/", limit_s=0.3)
        assert time.monotonic() - began < 3
