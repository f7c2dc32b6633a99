"""Keys of the table and OIDC tokens with the real server."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from app.auth.block_table import BlockTable
from app.auth.key_entry import KeyEntry
from app.auth.key_table import KeyTable
from app.database.engine import Database
from app.database.migrations import migrate
from tests.support.server import Proxy, at_once, eventually
from tests.support.settings import model, provider, settings_file
from tests.support.upstream import Upstream


class Issuer:
    """An identity provider: `token` signs with its newest key, `rotate` creates a key."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.rotate()

    def rotate(self) -> None:
        self.kid = f"key-{time.monotonic_ns()}"
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        self.document = json.dumps({"keys": [public | {"kid": self.kid}]}).encode()

    def token(self, kid: str | None = None, **claims) -> str:
        usual = {"iss": "https://id", "aud": "proxy", "sub": "alice", "exp": time.time() + 60}
        return jwt.encode(usual | claims, self._key, "ES256", {"kid": kid or self.kid})


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(known.document)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        known = Issuer(server.server_port)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield known
        server.shutdown()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyTable]:
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('keys')}/keys.db")
    migrate(database.engine)
    table = KeyTable(database)
    table.url = str(database.engine.url)
    yield table
    database.close()


@pytest.fixture(scope="module", params=["gevent", "gthread"])
def proxy(request, table, issuer, tmp_path_factory) -> Iterator[Proxy]:
    directory: Path = tmp_path_factory.mktemp(request.param)
    with start(directory, table.url, issuer, request.param) as proxy:
        yield proxy


@contextmanager
def start(directory: Path, url: str, issuer: Issuer, worker_class: str) -> Iterator[Proxy]:
    """Start a proxy with keys of the table and of the issuer only."""
    oidc = {
        "issuer": "https://id",
        "audience": "proxy",
        "jwks_url": f"http://127.0.0.1:{issuer.port}/jwks",
        "claims": {"name": "sub", "models": "models"},
    }
    with Upstream(32) as upstream:
        path = settings_file(
            directory,
            {"p": provider(upstream)},
            {"embed": model("p"), "other": model("p")},
            USAGE={"url": url, "keys": True, "spool": str(directory / "spool")},
            OIDC=oidc,
            KEYS={},
        )
        path.write_text(path.read_text() + "\nKEYS = {}\n")
        with Proxy(directory, path, worker_class=worker_class, workers=2) as proxy:
            yield proxy


def statuses(proxy: Proxy, key: str, **headers) -> set[int]:
    """Return the statuses of many concurrent requests, so that each worker answers some."""
    client = proxy.client(key)
    body = {"model": "embed", "input": "a"}
    return {answer.status for answer in at_once(lambda: client.post(body, **headers))}


def is_refused(proxy: Proxy, key: str, code: str, model: str = "embed", **fields) -> bool:
    """Whether a request is refused for this reason; the worker may not have the key yet."""
    answer = proxy.client(key).embed(model, "a", **fields)
    return answer.status != 200 and answer.error["code"] == code


def test_new_rotated_and_revoked_keys_apply_in_every_worker(proxy, table):
    name = f"team-{proxy.port}"
    key = table.new(KeyEntry(name, models=("embed",)))
    eventually(lambda: statuses(proxy, key) == {200})
    eventually(lambda: is_refused(proxy, key, "model_not_allowed", "other"))
    new = table.rotate(name, grace=60)
    eventually(lambda: statuses(proxy, new) == {200})
    eventually(lambda: statuses(proxy, key) == {200})
    table.revoke(name)
    eventually(lambda: statuses(proxy, key) | statuses(proxy, new) == {401})


def test_key_bound_to_networks_is_refused_elsewhere(proxy, table):
    name = f"bound-{proxy.port}"
    key = table.new(KeyEntry(name, networks=("10.0.0.0/8",)))
    eventually(lambda: statuses(proxy, key) == {403})
    eventually(lambda: is_refused(proxy, key, "network_not_allowed"))
    # Loopback is trusted.
    eventually(lambda: statuses(proxy, key, X_Forwarded_For="10.1.2.3") == {200})


def test_blocks_apply_in_every_worker(proxy, table, issuer):
    name, user = f"blocked-{proxy.port}", f"u-{proxy.port}"
    key, token = table.new(KeyEntry(name)), issuer.token(sub=user)
    blocks = BlockTable(Database(table.url))
    eventually(lambda: statuses(proxy, key) | statuses(proxy, token) == {200})
    for blocked in (name, f"oidc:{user}"):
        blocks.block("key", blocked)
    blocks.block("user", user)
    eventually(lambda: statuses(proxy, key) | statuses(proxy, token) == {403})
    eventually(lambda: is_refused(proxy, key, "key_blocked"))
    blocks.unblock("key", name)
    eventually(lambda: statuses(proxy, key) == {200})
    eventually(lambda: is_refused(proxy, key, "user_blocked", user=user))
    eventually(lambda: proxy.client(key).embed("embed", "a", user="another").status == 200)
    blocks.unblock("user", user)
    eventually(lambda: proxy.client(key).embed("embed", "a", user=user).status == 200)


def test_limits_of_the_table_apply(proxy, table):
    key = table.new(KeyEntry(f"slow-{proxy.port}", limits=(("requests_per_minute", 2),)))
    eventually(lambda: 429 in statuses(proxy, key))


def test_tokens_are_accepted_after_a_rotation(proxy, issuer):
    token = issuer.token()
    eventually(lambda: statuses(proxy, token) == {200})
    assert statuses(proxy, issuer.token(aud="else")) == {401}
    assert statuses(proxy, issuer.token(exp=time.time() - 100)) == {401}
    few = proxy.client(issuer.token(models=["other"]))
    assert few.embed("embed", "a").error["code"] == "model_not_allowed"
    issuer.rotate()
    assert statuses(proxy, issuer.token(kid="invented")) == {401}  # which uses up no fetch
    assert statuses(proxy, issuer.token(sub="bob")) == {200}
    line = proxy.log_line(proxy.client(token).get("/v1/models").headers["x-request-id"])
    assert line["key"] in ("oidc:alice", None)
    assert token not in proxy.stdout() + proxy.stderr()


def test_workers_started_without_database_use_the_snapshot_and_accept_tokens(tmp_path, issuer):
    held = tmp_path / "database"
    held.mkdir()
    database = Database(f"sqlite:///{held}/keys.db")
    migrate(database.engine)
    table = KeyTable(database)
    key, token = table.new(KeyEntry("team")), issuer.token()
    blocks = BlockTable(database)
    blocks.block("user", "mallory")
    with start(tmp_path, str(database.engine.url), issuer, "gevent") as proxy:
        eventually(lambda: statuses(proxy, key) | statuses(proxy, token) == {200})
        copies = [tmp_path / "spool" / name for name in ("keys.json", "blocks.json")]
        eventually(lambda: all(copy.exists() for copy in copies), what="copies for new workers")
        held.rename(tmp_path / "away")
        old = set(proxy.workers())
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(proxy.workers()) == 2 and not old & set(proxy.workers()), 60)
        eventually(lambda: statuses(proxy, key) | statuses(proxy, token) == {200})
        assert statuses(proxy, "sk-unknown") == {401}
        blocked = [proxy.client(key).embed("embed", "a", user="mallory") for _ in range(8)]
        assert {answer.error["code"] for answer in blocked} == {"user_blocked"}
        (tmp_path / "away").rename(held)
        table.revoke("team")
        eventually(lambda: statuses(proxy, key) == {401})
    database.close()


def test_token_of_a_new_key_is_a_503_while_the_provider_is_unavailable(proxy, issuer):
    document, issuer.document = issuer.document, b"<html>"
    stranger = Issuer(issuer.port)
    try:
        assert statuses(proxy, stranger.token(sub="bob")) == {503}
        answer = proxy.client(stranger.token(sub="bob")).embed("embed", "a")
        assert answer.error["code"] == "keys_unavailable"
        assert statuses(proxy, issuer.token(sub="carol")) == {200}
    finally:
        issuer.document = document
