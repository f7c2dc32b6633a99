"""No output has a secret. Secrets are in all places that fail, and all answers and logs are read.

Each secret has its own name, which shows the source of a leak.
"""

import contextlib
import json
import re
import socket
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from app import config
from app.providers import registry
from tests.e2e.bad_http import framed
from tests.observability.spans import TRACEPARENT
from tests.support import refusals, settings, stalls
from tests.support.server import Proxy, eventually
from tests.support.upstream import Upstream

PLANTED = re.compile(r"planted[-a-z0-9]+|PRIVATE KEY|Credential=|Signature=", re.IGNORECASE)
CLIENT = "sk-planted-client-key"  # good
WRONG = "sk-planted-wrong-key"  # and a bad one
#: A well-formed token of an unknown issuer.
TOKEN = jwt.encode({"sub": "planted-subject"}, "planted" * 5, headers={"kid": "planted-kid"})
AWS = {
    "kind": "bedrock",
    "region": "eu-west-1",
    "access_key_id": "planted-access-id",
    "api_key": "planted-aws-secret",
}


@pytest.fixture(scope="module")
def provider():
    with Upstream(settings.WIDTH, api_key="sk-planted-provider-key") as upstream:
        yield upstream


@pytest.fixture(scope="module")
def planted(provider: Upstream, tmp_path_factory: pytest.TempPathFactory):
    """A proxy with secrets of every kind, whose services are all unavailable."""
    directory = tmp_path_factory.mktemp("planted")
    with stalls.closed_port() as closed:
        address = closed.removeprefix("http://").partition("/")[0]
        credentials = "planted-user:planted-password"
        good = settings.provider(provider, headers={"X-Secret": "planted-header"})
        providers: dict[str, Any] = {
            "plain": good,
            "userinfo": good | {"base_url": good["base_url"].replace("://", f"://{credentials}@")},
            "closed": good | {"base_url": f"http://{credentials}@{address}/planted-path"},
            "egress": good | {"proxy": f"http://planted-egress:planted-word@{address}"},
            "nowhere": good | {"base_url": "http://planted-host.invalid/v1?sig=planted-query"},
            "aws": good | AWS | {"base_url": good["base_url"].removesuffix("/v1")},
            "aws-closed": AWS | {"base_url": f"http://{credentials}@{address}"},
            "google": {
                "kind": "vertex",
                "project": "planted-project",
                "location": "global",
                "key_file": key_file(directory, address),
            },
            "azure": good | {"kind": "azure", "base_url": f"http://{credentials}@{address}"},
        }
        models = {name: settings.model(name) for name in providers}
        for name in ("aws", "aws-closed"):
            models[name]["deployments"][0]["model"] = "amazon.titan-embed-text-v2:0"
        models["google"]["deployments"][0]["model"] = "text-embedding-005"
        path = settings.settings_file(
            directory,
            providers,
            models,
            {"tests": settings.key(CLIENT, "*")},
            CACHE={"url": f"redis://planted-redis:planted-cache@{address}/0"},
            LIMITS={"url": f"redis://:planted-limits@{address}/0"},
            USAGE={
                "url": f"postgresql+psycopg://planted-role:planted-ledger@{address}/planted",
                "spool": str(directory / "spool"),
            },
            TRACING={
                "endpoint": f"http://planted-otlp:planted-word@{address}/v1/traces?planted-otlp-query",
                "headers": {"authorization": "planted-collector-key"},
            },
            OIDC={
                "issuer": "https://planted-issuer.invalid",
                "audience": "planted-audience",
                "jwks_url": f"https://planted-jwks:planted-word@{address}/keys",
            },
            LOGS={"level": "DEBUG"},
        )
        with Proxy(directory, path, OPENAI_API_KEY="sk-planted-environment") as proxy:
            yield proxy


def key_file(directory: Path, address: str) -> str:
    """Write the key file of a Google service account whose token server is closed."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    account = {
        "type": "service_account",
        "project_id": "planted-project",
        "private_key_id": "planted-key-id",
        "private_key": pem.decode(),
        "client_email": "planted-account@example.invalid",
        "token_uri": f"http://planted-google:planted-word@{address}/token",
    }
    path = directory / "planted-account.json"
    path.write_text(json.dumps(account))
    return str(path)


def repeating(code: int):
    """A provider that repeats the request in body and headers of its answer."""

    def behaviour(exchange: Any) -> None:
        call = exchange.call
        said = f"{refusals.message_with_secrets(exchange)} {call.headers} {call.path} {call.body}"
        headers = {"X-Echo": call.headers["authorization"], "Set-Cookie": "planted-cookie=1"}
        exchange.reply(code, {"error": {"message": said, "code": said, "type": said}}, **headers)

    return behaviour


def ask_everything(proxy: Proxy, provider: Upstream) -> list[str]:
    """Return every answer as text: status, headers, body."""
    client, answers = proxy.client(CLIENT), []
    behaviours = [
        *(repeating(code) for code in (400, 401, 403, 404, 413, 422, 429, 500, 503)),
        *(refusals.page(code) for code in (200, 401, 500)),
        refusals.redirect("http://planted-elsewhere.invalid/?key=planted-redirect"),
        lambda exchange: exchange.reply(200, {"planted-shape": exchange.call.headers}),
        lambda exchange: exchange.reply(200, b'{"data": [planted-garbage'),
        lambda exchange: exchange.send(b"HTTP/1.1 planted-status\r\nplanted-head\r\n\r\n"),
        lambda exchange: exchange.send(b"planted-nonsense\r\n\r\n"),
    ]
    for name in ("plain", "userinfo", "aws"):
        for behaviour in behaviours:
            provider.always(behaviour)
            answers.append(client.embed(name, "planted-input", timeout=2, caching=True))
    provider.reset()
    for name in ("closed", "egress", "nowhere", "aws-closed", "google", "azure"):
        answers.append(client.embed(name, ["planted-input"], timeout=2, user="someone"))
    answers += [
        client.embed("plain", "planted-input", caching=True),
        client.post(b'{"model": "plain", "input": "planted-input", }'),
        client.post({"model": "plain", "input": ["planted-input", 3]}),
        client.post({"model": "plain", "input": "planted-input", "user": ["planted-user"]}),
        client.post(b"planted-body", Content_Type="text/planted-type"),
    ]
    other = proxy.client(WRONG)
    answers += [
        other.embed("plain", "planted-input"),
        other.get("/v1/models?api_key=sk-planted-in-the-query"),
        other.get("/v1/models", Cookie="session=planted-cookie", api_key="planted-api-key"),
        other.get("/v1/models", Authorization=f"Basic {WRONG}"),
        other.get("/metrics?key=planted-metrics"),
        other.get("/v1/models", tracestate="planted-state", traceparent=TRACEPARENT),
        proxy.client(TOKEN).embed("plain", "planted-input"),
    ]
    texts = [f"{answer.status} {answer.headers} {answer.text}" for answer in answers]
    for data in (
        f"GET /v1/models HTTP/1.1 {WRONG}\r\nAuthorization: {WRONG}\r\n\r\n".encode(),
        framed(f"Authorization : Bearer {WRONG}"),
        framed(f"Bearer {WRONG}"),
        framed("Content-Length: planted-length"),
        framed("Transfer-Encoding: planted-coding"),
        framed("Transfer-Encoding: chunked", body=b"planted-chunk\r\n{}"),
        framed("Transfer-Encoding: chunked", body=b"2\r\n{}\r\n0\r\nX: planted-trailer\r\n\r\n"),
        framed("Content-Length: 500", body=b'{"input": "planted-broken-off'),
    ):
        texts.append(client.raw_bytes(data).decode("latin-1"))
    return texts


def test_no_answer_or_log_has_a_secret(planted: Proxy, provider: Upstream):
    texts = ask_everything(planted, provider)
    for text in texts:
        # An answer may quote its own request, for instance a provider's 400.
        assert not set(PLANTED.findall(text)) - {"planted-input", "planted-type"}, text
    eventually(lambda: planted.stdout().count("\n") > len(texts) / 2)
    lines = (planted.stdout() + planted.stderr()).splitlines()
    assert [line for line in lines if PLANTED.search(line) or "Traceback" in line] == []
    assert TOKEN not in "".join([*texts, *lines])


def test_openapi_and_docs_have_no_secret(planted: Proxy):
    for path in ("/openapi.json", "/docs", "/metrics", "/health/ready"):
        assert not PLANTED.search(planted.client(CLIENT).get(path).text), path


# Settings -----------------------------------------------------------------------------------------

P = '{"openai": {"kind": "openai", "base_url": %s, "api_key": %s}}'
MISTAKES = {
    "a key that is a number": "PROVIDERS = " + P % ('"http://h/v1"', '["planted-list"]'),
    "a key with a line break": "PROVIDERS = " + P % ('"http://h/v1"', r'"planted-key\n"'),
    "an address that is none": "PROVIDERS = " + P % ('"htp://u:planted-info@h"', '"k"'),
    "an unknown option": 'PROVIDERS = {"o": {"kind": "openai", "apikey": "planted-option"}}',
    "a header with a line break": 'PROVIDERS = {"o": {"kind": "openai", "api_key": "k", '
    r'"headers": {"X": "planted\n"}}}',
    "an egress proxy that is none": 'PROVIDERS = {"o": {"kind": "openai", "api_key": "k", '
    '"proxy": "planted-word:planted@h"}}',
    "a key instead of its hash": 'KEYS = {"team": {"sha256": "planted-client"}}',
    "a name that is not there": 'KEY = "planted-constant"; PROVIDERS = KEI',
    "a quote that does not end": 'PROVIDERS = {"o": {"api_key": "planted-literal}}',
    "a sum of a key and a number": 'PROVIDERS = {"o": "planted-operand" + 1}',
    "a cache that is none": 'CACHE = {"url": "http://u:planted-cache@h:1"}',
    "a database that is none": 'USAGE = {"url": "mysql://u:planted-ledger@h/db"}',
    "limits that are none": 'LIMITS = {"url": "memcache://:planted-limits@h"}',
    "tokens": 'OIDC = {"issuer": "x", "audience": "y", "jwks_url": "http://u:planted@h"}',
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_settings_error_does_not_show_the_value(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "settings.py"
    path.write_text(MISTAKES[mistake] + "\n")
    monkeypatch.setenv("PROXY_SETTINGS", str(path))
    monkeypatch.setenv("ALPHANEURAL_API_KEY", "sk-planted-default")
    with pytest.raises(config.SettingsError) as raised:
        registry.verify(config.load(registry))
    assert not PLANTED.search(str(raised.value))


def test_repr_of_settings_hides_secrets(planted: Proxy, tmp_path: Path):
    """A traceback of a library may print `repr` of settings."""
    path = Path(planted._environment["PROXY_SETTINGS"])
    names: dict[str, Any] = {}
    exec(path.read_text(), names)
    checked = config.check({k: v for k, v in names.items() if k.isupper()}, registry)
    public = {"planted-issuer", "planted-audience", *PLANTED.findall(str(path))}
    assert set(PLANTED.findall(repr(checked))) <= public


def test_cut_connection_logs_no_secret(planted: Proxy):
    with contextlib.closing(socket.create_connection(("127.0.0.1", planted.port))) as connection:
        connection.sendall(b"POST /v1/embeddings HTTP/1.1\r\nAuthorization: Bearer planted-cut\r\n")
    planted.client(CLIENT).get("/health/live")
    assert "planted-cut" not in planted.stdout() + planted.stderr()
