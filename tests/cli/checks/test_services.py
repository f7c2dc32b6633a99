"""`flask --app wsgi check --all` asks each configured service, one line each, in bounded time."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

from app.cli import commands as cli
from app.cli.checks.services import check_services, services
from app.config import check as checked
from app.database.engine import Database
from app.database.migrations import migrate
from app.limits.webhook import sign
from tests.auth.oidc_tokens import RSA, document, public
from tests.limits.test_webhook import receiver
from tests.support.otlp import Collector
from tests.support.settings import KEYS, model, provider
from tests.support.valkey import Valkey

__all__ = ["receiver"]  # a fixture

NAMES = {
    "PROVIDERS": {"p": provider("http://127.0.0.1:9")},
    "MODELS": {"m": model("p")},
    "KEYS": {"tests": KEYS["tests"]},
}
CLOSED = "127.0.0.1:9"


def ask(timeout_s=10.0, **names):
    questions = services(checked({**NAMES, **names}), timeout_s)
    return {f.setting: f for f in check_services(questions, timeout_s)}


def test_only_configured_services_are_asked():
    assert ask(CACHE=None) == {}


def test_valkey_that_answers_is_ok_for_cache_and_limits():
    with Valkey() as valkey:
        found = ask(CACHE={"url": valkey.url}, LIMITS={"url": valkey.url})
    assert [(name, f.ok) for name, f in found.items()] == [
        ("CACHE['url']", True),
        ("LIMITS['url']", True),
    ]


def test_a_database_is_ok_after_migration_and_is_not_created_by_the_check(tmp_path):
    url = f"sqlite:///{tmp_path}/usage.db"
    before = ask(USAGE={"url": url})["USAGE['url']"]
    assert not before.ok
    assert "usage migrate" in before.message
    assert list(tmp_path.iterdir()) == []
    database = Database(url)
    database.run(lambda _: None)
    assert "version none" in ask(USAGE={"url": url})["USAGE['url']"].message
    migrate(database.engine)
    database.close()
    assert ask(USAGE={"url": url})["USAGE['url']"].ok


def test_a_tracing_endpoint_that_accepts_an_empty_export_is_ok():
    with Collector() as collector:
        found = ask(TRACING={"endpoint": collector.endpoint})
    assert found["TRACING['endpoint']"].ok


@pytest.fixture
def serve():
    """Answers every request with this status and body; returns the address."""
    with contextlib.ExitStack() as stack:

        def start(status, body=b""):
            class Handler(BaseHTTPRequestHandler):
                def do_GET(self):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

                def do_POST(self):
                    self.do_GET()

                def log_message(self, *_):
                    pass

            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}/"

        yield start


def test_a_jwks_with_a_signing_key_is_ok(serve):
    address = serve(200, document(public(RSA, "one")))
    found = ask(OIDC={"issuer": "i", "audience": "a", "jwks_url": address})
    assert found["OIDC['jwks_url']"].message == "answers; signing keys: 1"


def test_a_jwks_without_a_signing_key_is_wrong(serve):
    found = ask(OIDC={"issuer": "i", "audience": "a", "jwks_url": serve(200, document())})
    assert not found["OIDC['jwks_url']"].ok


def test_a_tracing_endpoint_that_refuses_the_export_is_wrong(serve):
    finding = ask(TRACING={"endpoint": serve(401)})["TRACING['endpoint']"]
    assert not finding.ok
    assert finding.message == "answers 401 to an export of no spans"


SECRET = "0123456789abcdef"


def test_webhook_gets_a_signed_message_of_type_check(receiver):
    receiver.statuses.append(204)
    finding = ask(NOTIFY={"url": receiver.url, "secret": SECRET})["NOTIFY['url']"]
    assert (finding.ok, finding.message) == (True, "takes a signed message of type 'check'")
    ((headers, body),) = receiver.requests
    assert json.loads(body)["type"] == "check"
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    message_id, stamp, signature = (headers[name] for name in names)
    assert signature == sign(SECRET.encode(), message_id, stamp, body)


def test_a_webhook_that_refuses_the_message_is_wrong_and_called_once(receiver):
    receiver.statuses += [503, 204]
    finding = ask(NOTIFY={"url": receiver.url, "secret": SECRET})["NOTIFY['url']"]
    assert (finding.ok, finding.message) == (False, "status 503")
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ("CACHE['url']", {"CACHE": {"url": f"redis://u:hidden@{CLOSED}"}}),
        ("LIMITS['url']", {"LIMITS": {"url": f"redis://u:hidden@{CLOSED}"}}),
        ("USAGE['url']", {"USAGE": {"url": f"postgresql://u:hidden@{CLOSED}/d"}}),
        (
            "OIDC['jwks_url']",
            {"OIDC": {"issuer": "i", "audience": "a", "jwks_url": f"http://{CLOSED}/?t=hidden"}},
        ),
        ("TRACING['endpoint']", {"TRACING": {"endpoint": f"http://{CLOSED}/hidden"}}),
        (
            "NOTIFY['url']",
            {"NOTIFY": {"url": f"http://{CLOSED}/hidden", "secret": "hidden-0123456789"}},
        ),
    ],
)
def test_an_unavailable_service_is_wrong_and_its_secret_is_not_shown(setting, names):
    finding = ask(**names)[setting]
    assert not finding.ok
    assert finding.message
    assert "hidden" not in finding.message


def test_a_silent_service_is_wrong_and_does_not_delay_others():
    release = threading.Event()
    questions = {"A": lambda: str(release.wait(60)), "B": lambda: "answers"}
    found = check_services(questions, 2)
    release.set()
    assert [(f.setting, f.ok, f.message) for f in found] == [
        ("A", False, "no answer within 2 s"),
        ("B", True, "answers"),
    ]


def test_a_wrong_service_has_a_line_and_sets_the_exit_code(tmp_path, monkeypatch):
    path = tmp_path / "settings.py"
    path.write_text(
        'PROVIDERS = {"l": {"kind": "local"}}\n'
        'MODELS = {"m": {"deployments": [{"provider": "l", "model": "l2_supercat"}]}}\n'
        f"KEYS = {{'k': {{'sha256': '{'0' * 64}'}}}}\n"
        f"CACHE = {{'url': 'redis://{CLOSED}'}}\n"
    )
    monkeypatch.setenv("PROXY_SETTINGS", str(path))
    assert CliRunner().invoke(cli.check, ["--no-batch"]).exit_code == 0
    result = CliRunner().invoke(cli.check, ["--all", "--no-batch"])
    assert result.exit_code == 1
    assert any(x.startswith("FAIL  CACHE['url']") for x in result.output.splitlines())
    result = CliRunner().invoke(cli.check, ["--all", "--no-batch", "--json"])
    assert [s["ok"] for s in json.loads(result.stdout)["services"]] == [False]
