"""The record of a finished request has what is known of it; docs/operations.md has its fields."""

import json
import re

import msgspec
import pytest

from app.domain import Caller, EmbeddingRequest, Flow, Outcome, Vectors
from app.errors import BadRequest, DeadlineExceeded, UpstreamFailed
from app.exchange import Exchange
from app.observability.request_record import MAX_TEXT_LENGTH, RequestRecord, record_of
from tests.support.server import ROOT


def test_every_field_of_the_line_is_documented():
    page = (ROOT / "docs" / "operations.md").read_text()
    section = page.partition("## The log line of a request")[2].partition("\n## ")[0]
    names = re.findall(r"^\| ([^|]*) \|", section, re.M)[1:]
    documented = re.findall(r"`(\w+)`", " ".join(names))
    assert sorted(documented) == sorted(RequestRecord.__struct_fields__)


def start(**options):
    return Exchange("req_1", "POST", "/v1/embeddings", **options)


def test_record_of_a_served_request_has_all_fields():
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
    record = record_of(exchange, 200, 0.0)
    assert json.loads(msgspec.json.encode(record)) == {
        "time": "1970-01-01T00:00:00.000Z",
        "level": "info",
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
        "total_ms": 0.0,
        "error_code": None,
        "error": None,
    }


def test_record_of_a_refused_request_has_known_fields():
    exchange = start()
    exchange.error = BadRequest("What is wrong.")
    record = record_of(exchange, 400, 0.0)
    assert (record.key, record.model, record.items, record.tokens) == (None,) * 4
    assert (record.upstream_ms, record.attempts, record.cache) == (None, 0, None)
    assert record.error_code == "invalid_request_error"  # OpenAI has no code for it
    assert record.error == "What is wrong."


def test_record_of_a_failed_request_has_code_and_attempts():
    exchange = start(caller=Caller("team"), request=EmbeddingRequest("m", ["x"]))
    exchange.error = UpstreamFailed("It failed.")
    exchange.error.attempts = 3
    record = record_of(exchange, 502, 0.0)
    assert (record.error_code, record.attempts) == ("upstream_error", 3)
    assert record.items == 1


def test_log_text_of_an_error_replaces_its_message():
    exchange = start()
    exchange.error = DeadlineExceeded("Told to the caller.")
    exchange.error.log_message = "message for the log"
    record = record_of(exchange, 504, 0.0)
    assert record.error == "message for the log"


def test_seconds_are_milliseconds_in_the_record():
    assert record_of(start(seconds=0.25), 200, 0.0).total_ms == 250.0


def test_time_is_utc_with_milliseconds_cut_not_rounded():
    assert record_of(start(), 200, 1_700_000_000.9876).time == "2023-11-14T22:13:20.987Z"


def test_long_texts_of_clients_are_cut():
    exchange = Exchange("req_1", "GET", "/" + "p" * 8000)
    exchange.error = BadRequest("e")
    exchange.error.log_message = "e" * 8000
    record = record_of(exchange, 400, 0.0)
    assert (len(record.path), len(record.error)) == (MAX_TEXT_LENGTH, MAX_TEXT_LENGTH)


@pytest.mark.parametrize(
    ("status", "path", "level"),
    [
        (200, "/v1/embeddings", "info"),
        (404, "/v1/embeddings", "info"),
        (499, "/v1/embeddings", "info"),
        (500, "/v1/embeddings", "error"),
        (504, "/v1/embeddings", "error"),
        (200, "/health/live", "debug"),
        (200, "/health/ready", "debug"),
        (503, "/health/ready", "error"),
        (200, "/healthy", "info"),
    ],
)
def test_level_is_error_for_failures_and_debug_for_probes(status, path, level):
    assert record_of(Exchange("req_1", "GET", path), status, 0.0).level == level
