"""Every request gets an id, errors in OpenAI's format and a log line, without secrets."""

import io
import json
import logging

import pytest

from app.errors import ModelNotFound
from app.exchange import WAITED_S
from tests.api.fake import AUTH, FakeProvider, app_with, ask, error_of


def test_response_has_the_callers_request_id_or_a_new_one(client):
    for path in ("/v1/models", "/nowhere", "/health/live"):
        given = client.get(path, headers={"X-Request-Id": "mine-1"})
        assert given.headers["x-request-id"] == "mine-1"
        made = client.get(path)
        assert made.headers["x-request-id"].startswith("req_")
        bad = client.get(path, headers={"X-Request-Id": "not well formed"})
        assert bad.headers["x-request-id"].startswith("req_")


def test_time_in_the_servers_queue_counts_for_the_deadline(client, provider):
    """Under gthread a request may wait for a thread; its caller may not wait any more then."""

    def ask_after(waited_s):
        body = {"model": "embed", "input": "hello", "timeout": 100}
        environ = {WAITED_S: waited_s}
        return client.post("/v1/embeddings", json=body, headers=AUTH, environ_overrides=environ)

    error = error_of(ask_after(101.0))
    assert (error.status, error.code) == (504, "timeout")
    assert not provider.calls
    assert ask_after(50.0).status_code == 200


def test_no_hook_is_registered_that_the_app_does_not_call(client):
    app = client.application
    hooks = (app.before_request_funcs, app.after_request_funcs, app.url_value_preprocessors)
    assert {
        name for registered in hooks for name, functions in registered.items() if functions
    } == {None}
    assert not app.url_value_preprocessors.get(None)
    assert not any(app.teardown_request_funcs.values())
    assert not app.teardown_appcontext_funcs


@pytest.mark.parametrize("path", ["/v1", "/v2/embeddings", "/v1//embeddings"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_unknown_path_is_a_404_in_openais_shape(client, path, method):
    error = error_of(client.open(path, method=method, headers=AUTH))
    assert (error.status, error.code, error.type) == (404, "not_found", "invalid_request_error")
    assert error.message == f"Invalid URL ({method} {path})"


@pytest.mark.parametrize(
    ("path", "method", "allow"),
    [
        ("/v1/embeddings", "GET", "OPTIONS, POST"),
        ("/v1/embeddings", "PUT", "OPTIONS, POST"),
        ("/openai/deployments/embed/embeddings", "DELETE", "OPTIONS, POST"),
        ("/v1/models", "POST", "GET, HEAD, OPTIONS"),
        ("/health/ready", "PATCH", "GET, HEAD, OPTIONS"),
    ],
)
def test_unknown_method_is_a_405_with_allowed_methods(client, path, method, allow):
    response = client.open(path, method=method)
    error = error_of(response)
    assert (error.status, error.code) == (405, "method_not_allowed")
    assert error.message == f"Not allowed to {method} on {path}. (Allowed: {allow})"
    assert response.headers["Allow"] == allow


@pytest.fixture
def bug(monkeypatch, client):
    """A client of a proxy that raises an exception whose text holds a secret."""

    def fails(*_):
        raise RuntimeError("sk-upstream-secret in a traceback")

    monkeypatch.setattr("app.pipeline.verify", fails)
    return client


def test_exception_in_an_adapter_is_a_502(client, provider):
    provider.fail = RuntimeError("sk-upstream-secret in a traceback")
    response = ask(client)
    assert (response.status_code, error_of(response).code) == (502, "upstream_error")
    assert "secret" not in response.text


def test_bug_is_a_500_without_details(bug):
    response = ask(bug)
    error = error_of(response)
    assert (error.status, error.code, error.type) == (500, "internal_error", "server_error")
    assert error.message == "The server had an error while processing your request."
    assert "secret" not in response.text
    assert response.headers["x-request-id"]


def test_bug_is_logged_with_traceback(bug, capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger("app").handlers[0], "stream", io.StringIO())
    stream = logging.getLogger("app").handlers[0].stream
    given = ask(bug, headers={**AUTH, "X-Request-Id": "bug-1"})
    assert given.status_code == 500
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    (failed,) = [line for line in lines if "failed by a bug" in line.get("message", "")]
    assert failed["message"] == "request bug-1 failed by a bug"
    assert "RuntimeError" in failed["exception"]
    assert failed["level"] == "error"
    (line,) = [line for line in lines if "status" in line]
    assert (line["status"], line["error_code"], line["level"]) == (500, "internal_error", "error")


def test_errors_of_werkzeug_are_translated(monkeypatch):
    client = app_with(monkeypatch, FakeProvider())
    from werkzeug import exceptions

    def raising(error):
        def view():
            raise error

        return view

    for name, error in {
        "teapot": exceptions.ImATeapot("<b>page</b>"),
        "bad": exceptions.BadRequest("<b>page</b>"),
        "gone": exceptions.NotFound(),
        "server": exceptions.InternalServerError("<b>page</b>"),
        "proxy": ModelNotFound("No such model."),
    }.items():
        client.application.add_url_rule(f"/{name}", name, raising(error))
    for name, status, code in [
        ("teapot", 400, None),
        ("bad", 400, None),
        ("gone", 404, "not_found"),
        ("server", 500, "internal_error"),
        ("proxy", 404, "model_not_found"),
    ]:
        error = error_of(client.get(f"/{name}"))
        assert (error.status, error.code) == (status, code), name
        assert "page" not in error.message


@pytest.fixture
def log(monkeypatch, provider):
    """A function that sends a request; it returns its log line, and the text of all lines."""

    def line_of(request):
        client = app_with(monkeypatch, provider)
        handler = logging.getLogger("app").handlers[0]
        handler.stream = io.StringIO()
        request(client)
        lines = [json.loads(line) for line in handler.stream.getvalue().splitlines()]
        (line,) = [line for line in lines if "request_id" in line]
        return line, handler.stream.getvalue()

    return line_of


def test_request_is_logged_in_one_line_without_secrets(log):
    line, text = log(lambda c: ask(c, input=["the private text"] * 2, user="u-7", dimensions=8))
    assert line["time"].endswith("Z")
    assert {name: line[name] for name in list(line)[1:] if not name.endswith("_ms")} == {
        "level": "info",
        "request_id": line["request_id"],
        "method": "POST",
        "path": "/v1/embeddings",
        "status": 200,
        "client": "127.0.0.1",
        "key": "tests",
        "user": "u-7",
        "model": "embed",
        "service_tier": "default",
        "space": line["space"],
        "provider": "fake",
        "items": 2,
        "tokens": 6,
        "cached_tokens": 0,
        "billed_tokens": 6,
        "cache": "off",
        "attempts": 1,
        "error_code": None,
        "error": None,
    }
    assert line["total_ms"] >= line["upstream_ms"] >= 0
    assert "private" not in text
    assert "sk-" not in text


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (lambda c: c.post("/v1/embeddings", json={}), 401, "invalid_api_key"),
        (lambda c: ask(c, headers={"Authorization": "Bearer sk-wrong"}), 401, "invalid_api_key"),
        (lambda c: ask(c, model="none"), 404, "model_not_found"),
        (lambda c: ask(c, input=["private text", 5]), 400, "invalid_request_error"),
        (lambda c: c.get("/nowhere"), 404, "not_found"),
    ],
)
def test_refused_request_is_logged(log, request_, status, code):
    line, text = log(request_)
    assert (line["status"], line["error_code"], line["level"]) == (status, code, "info")
    assert "private" not in text
    assert "sk-" not in text


def test_successful_probes_are_not_logged(monkeypatch, provider):
    client = app_with(monkeypatch, provider)
    stream = logging.getLogger("app").handlers[0].stream = io.StringIO()
    client.get("/health/live")
    client.get("/health/ready")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/embeddings", {"OPTIONS", "POST"}),
        ("/v1/models", {"GET", "HEAD", "OPTIONS"}),
        ("/v1/models/embed", {"GET", "HEAD", "OPTIONS"}),
        ("/health/live", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_options_names_the_methods_of_a_path(client, path, methods):
    client.open(path, method=min(methods))  # what matched before changes nothing
    for _ in range(2):
        answer = client.options(path)
        assert (answer.status_code, answer.data) == (204, b"")
        assert answer.headers["Allow"] == ", ".join(sorted(methods))
        assert "Content-Type" not in answer.headers


def test_options_of_an_unknown_path_is_a_404(client):
    assert client.options("/no/such/path").status_code == 404
