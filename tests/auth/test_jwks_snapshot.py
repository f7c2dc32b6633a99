"""Workers that start while the identity provider is away know the keys that it had."""

import time

import pytest

from app.auth.jwks import Jwks
from app.auth.oidc import JwtAuthenticator
from app.auth.snapshots import JwksSnapshot
from app.config import OidcSettings
from app.errors import KeysUnavailable, Unauthorized
from tests.auth.oidc_tokens import OTHER, RSA, URL, document, public, token
from tests.support.server import eventually

SETTINGS = OidcSettings("https://id", ("proxy",), URL, claims={"name": "sub"})
DATA = document(public(RSA, "one"))


@pytest.fixture
def snapshot(tmp_path):
    return JwksSnapshot(tmp_path / "memory")


@pytest.fixture
def worker(snapshot):
    """Starts a worker: the provider answers with the data, or with the exception."""
    started = []

    def start(answer, wait_s=0.1):
        def get(_):
            if isinstance(answer, Exception):
                raise answer
            return answer

        jwks = Jwks(URL, 3600, get, min_interval_s=0.01, wait_s=wait_s, snapshot=snapshot)
        jwks.start()
        started.append(jwks)
        return JwtAuthenticator(SETTINGS, jwks), jwks

    yield start
    for jwks in started:
        jwks.stop()


def test_worker_that_starts_without_the_provider_uses_the_last_keys(worker, snapshot):
    worker(DATA)
    eventually(lambda: snapshot.read() == DATA)
    tokens, _ = worker(OSError("away"))
    assert tokens.identify(token())[0].name == "oidc:alice"
    with pytest.raises(KeysUnavailable):  # it may be of a new key
        tokens.identify(token(OTHER, "new"))


def test_a_fetch_replaces_the_keys_of_the_snapshot(worker, snapshot):
    snapshot.write(DATA)
    tokens, jwks = worker(document(public(OTHER, "new")), wait_s=5)
    eventually(lambda: jwks.version == 2)
    assert tokens.identify(token(OTHER, "new"))[0].name == "oidc:alice"
    with pytest.raises(Unauthorized):
        tokens.identify(token())


@pytest.mark.parametrize("later_s", [3601, -3601])
def test_an_old_document_is_not_used(tmp_path, later_s):
    now = time.time()
    JwksSnapshot(tmp_path / "memory", lambda: now).write(DATA)
    assert JwksSnapshot(tmp_path / "memory", lambda: now + 3599).read() == DATA
    assert JwksSnapshot(tmp_path / "memory", lambda: now + later_s).read() is None


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"keys": []}', b"[" * 100_000])
def test_a_broken_document_is_not_used(worker, snapshot, data, caplog):
    snapshot.write(data)
    tokens, _ = worker(OSError("away"))
    with pytest.raises(KeysUnavailable):
        tokens.identify(token())
    assert "the copy of the JWKS cannot be read" in caplog.text


def test_a_directory_of_others_is_not_used(tmp_path, snapshot, caplog):
    snapshot.write(DATA)
    (tmp_path / "memory").chmod(0o755)
    assert snapshot.read() is None
    snapshot.write(DATA)
    assert "cannot be kept" in caplog.text
