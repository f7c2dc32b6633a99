"""Request ids, and the log line of an exchange."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import exchange as module
from app.domain import Caller, EmbeddingRequest, Flow, Outcome, Vectors
from app.errors import BadRequest, DeadlineExceeded, UpstreamFailed
from app.exchange import Exchange, request_id
from app.observability import request_log
from app.observability.request_log import RequestLog

NEW = re.compile(r"req_[0-9a-f]{32}")


@pytest.mark.parametrize(
    "given", ["a", "req_123", "A.b-c:d/e+f=g_9", "x" * 128, "0af7651916cd43dd8448eb211c80319c"]
)
def test_a_well_formed_id_is_kept(given):
    assert request_id(given) == given


@pytest.mark.parametrize(
    "given", [None, "", " ", "a b", "x" * 129, "a\n", "a\r\nx: y", "ü", "<b>", '"', "a,b", "%0a"]
)
def test_other_ids_are_replaced(given):
    assert NEW.fullmatch(request_id(given))


@given(st.text())
def test_ids_are_safe_in_headers_and_logs(given):
    assert re.fullmatch(r"[!-~]{1,128}", request_id(given))


def test_new_ids_are_unique():
    assert len({request_id(None) for _ in range(1000)}) == 1000


@pytest.fixture
def logged(monkeypatch):
    """The fields of the logged lines."""
    lines = []
    monkeypatch.setattr(request_log, "log_request", lines.append)
    return lines


def start(**options):
    return Exchange("req_1", "POST", "/v1/embeddings", **options)


def test_log_line_has_all_fields(logged):
    exchange = start(
        space="acme/bge",
        caller=Caller("team"),
        request=EmbeddingRequest(
            "m", ["secret text", "other"], user="u-1", flow=Flow("team", tier="flex")
        ),
        outcome=Outcome(
            Vectors([b"1", b"2"], [3, 4]),
            provider="p",
            attempts=2,
            upstream_seconds=0.0123456,
            queue_seconds=0.0012,
            cache="partial",
            cached_tokens=3,
            purchases={("p", "upstream-m"): 4},
        ),
    )
    RequestLog().finished(exchange, 200)
    (line,) = logged
    assert line.pop("total_ms") >= 0
    assert line == {
        "request_id": "req_1",
        "method": "POST",
        "path": "/v1/embeddings",
        "status": 200,
        "client": None,
        "key": "team",
        "user": "u-1",
        "model": "m",
        "service_tier": "flex",
        "space": "acme/bge",
        "provider": "p",
        "items": 2,
        "tokens": 7,
        "cached_tokens": 3,
        "billed_tokens": 4,
        "cache": "partial",
        "attempts": 2,
        "queue_ms": 1.2,
        "upstream_ms": 12.35,
        "error_code": None,
        "error": None,
    }


def test_log_line_of_a_refused_request_has_known_fields(logged):
    exchange = start()
    exchange.error = BadRequest("What is wrong.")
    RequestLog().finished(exchange, 400)
    (line,) = logged
    assert (line["key"], line["model"], line["items"], line["tokens"]) == (None,) * 4
    assert (line["upstream_ms"], line["attempts"], line["cache"]) == (None, 0, None)
    assert line["error_code"] == "invalid_request_error"  # OpenAI has no code for it
    assert line["error"] == "What is wrong."


def test_log_line_of_a_failed_request_has_code_and_attempts(logged):
    exchange = start(caller=Caller("team"), request=EmbeddingRequest("m", ["x"]))
    exchange.error = UpstreamFailed("It failed.")
    exchange.error.attempts = 3
    RequestLog().finished(exchange, 502)
    assert (logged[0]["error_code"], logged[0]["attempts"]) == ("upstream_error", 3)
    assert logged[0]["items"] == 1


def test_log_text_of_an_error_replaces_its_message(logged):
    exchange = start()
    exchange.error = DeadlineExceeded("Told to the caller.")
    exchange.error.log_message = "message for the log"
    RequestLog().finished(exchange, 504)
    assert logged[0]["error"] == "message for the log"


def test_the_clock_starts_with_the_exchange(monkeypatch, logged):
    now = [50.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    exchange = start(started=50.0)
    now[0] = 50.25
    assert exchange.elapsed() == 0.25
    exchange.seconds = 0.25
    RequestLog().finished(exchange, 200)
    assert logged[0]["total_ms"] == 250.0
