"""An app whose spans are in an exporter in memory."""

import logging

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.observability import tracing
from tests.api.fake import FakeProvider, app_with

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
PROVIDERS = {
    "fake": {"kind": "openai", "api_key": "sk-upstream-secret", "base_url": "https://up.example/v1"}
}


class AtAnAddress(FakeProvider):
    address = "https://up.example/v1"


@pytest.fixture
def provider():
    return AtAnAddress()


@pytest.fixture
def exporter(monkeypatch):
    made = InMemorySpanExporter()
    monkeypatch.setattr(tracing, "exporter", lambda _: SimpleSpanProcessor(made))
    yield made
    logging.getLogger("app").handlers = []


@pytest.fixture
def client(monkeypatch, provider, exporter):
    return traced(monkeypatch, provider)


def traced(monkeypatch, provider, **options):
    options = {"endpoint": "http://127.0.0.1:1/v1/traces", **options}
    return app_with(monkeypatch, provider, PROVIDERS=PROVIDERS, TRACING=options)


def spans(exporter, kind):
    return [span for span in exporter.get_finished_spans() if span.kind is kind]


def one(exporter, kind):
    (span,) = spans(exporter, kind)
    return span
