"""The log has one line of JSON for each request, without inputs and secrets."""

from datetime import UTC, datetime, timedelta

import pytest

from app.observability.logs import MAX_LINE_BYTES
from tests.support import refusals
from tests.support.server import Proxy
from tests.support.settings import KEY

GOOD = {"model": "embed", "input": "hello there"}


def test_log_line_names_client_request_and_result(proxy, client, upstream):
    secret = "a text that must stay secret"
    body = {"model": "embed", "input": [secret, "b c"], "user": "u-17", "caching": True}
    body["service_tier"] = "flex"
    answer = client.post(body)
    line = proxy.log_line(answer.headers["x-request-id"])
    expected = {
        "level": "info",
        "request_id": answer.headers["x-request-id"],
        "key": "tests",
        "user": "u-17",
        "model": "embed",
        "service_tier": "flex",
        "space": answer.headers["x-proxy-space"],
        "provider": "scripted",
        "items": 2,
        "tokens": answer.json["usage"]["total_tokens"],
        "cache": "miss",
        "attempts": 1,
        "status": 200,
        "method": "POST",
        "path": "/v1/embeddings",
    }
    assert line.items() >= expected.items()
    assert line["error_code"] is None
    assert 0 < line["upstream_ms"] <= line["total_ms"] < 10_000
    age = datetime.now(UTC) - datetime.fromisoformat(line["time"])
    assert -timedelta(seconds=1) < age < timedelta(minutes=1)
    assert secret not in proxy.stdout()


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"model": "unknown"}, 404, "model_not_found"),
        ({"timeout": 0}, 400, "invalid_request_error"),  # the type, where there is no code
        ({"timeout": 20}, 502, "upstream_error"),
    ],
)
def test_log_line_of_an_error_has_its_code(proxy, client, upstream, fresh, fields, status, code):
    upstream.always(refusals.status(500))
    answer = client.post({**GOOD, "model": fresh("embed"), **fields})
    line = proxy.log_line(answer.headers["x-request-id"])
    assert (answer.status, line["status"], line["error_code"]) == (status, status, code)
    assert line["key"] == "tests"
    assert line["level"] == ("error" if status >= 500 else "info")


def test_log_line_without_authentication_has_no_client(proxy):
    answer = proxy.client("sk-some-wrong-key").post(GOOD)
    line = proxy.log_line(answer.headers["x-request-id"])
    assert (line["status"], line["error_code"]) == (401, "invalid_api_key")
    assert not line.get("key")
    assert "sk-some-wrong-key" not in proxy.stdout() + proxy.stderr()


def test_log_has_neither_keys_nor_inputs(proxy, client, upstream):
    for fields in ({}, {"timeout": 0}, {"input": ["a secret text", 1]}, {"user": 5}):
        client.post({**GOOD, "input": "a secret text", **fields})
    client.post(b'{"model": "embed", "input": "a secret text",}')
    client.get("/v1/models?key=a-secret-in-a-query")
    logged = proxy.stdout() + proxy.stderr()
    assert "a secret text" not in logged
    assert "a-secret-in-a-query" not in logged
    assert KEY not in logged
    assert upstream.api_key not in logged
    assert "Traceback" not in logged


def test_lines_are_at_most_4096_bytes(proxy, client):
    """Lines over 4,096 bytes of several workers would mix in a pipe."""
    long = "p" * 8000
    ids = [
        client.get(f"/{long}").headers["x-request-id"],
        client.get(f"/v1/models/{long}").headers["x-request-id"],
        client.post({**GOOD, "user": "\x00" * 256, "x" * 5_000_000: 1}).headers["x-request-id"],
    ]
    for request_id in ids:
        assert proxy.log_line(request_id)["status"] in (400, 404)
    assert max(len(line.encode()) for line in proxy.stdout().split("\n")) < MAX_LINE_BYTES


def test_each_request_is_one_line_of_the_log(proxy, client, upstream):
    asked = [client.post(GOOD), client.post({}), client.get("/v1/models"), client.get("/no")]
    for answer in asked:
        assert proxy.log_line(answer.headers["x-request-id"])["status"] == answer.status
    assert all(line.keys() >= {"time", "level"} for line in proxy.log_lines())


def test_a_worker_that_stops_writes_no_traceback_in_format_human(tmp_path):
    """gunicorn's own format has the process id, which ``logging.logProcesses`` False takes away."""
    with Proxy(tmp_path, ALPHANEURAL_API_KEY=KEY, LOG_FORMAT="human") as proxy:
        pass
    assert "Worker exiting" in proxy.stderr()
    assert "Traceback" not in proxy.stderr()
