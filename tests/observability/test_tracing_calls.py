"""Spans of calls, in the thread of the test: coverage does not follow others."""

from types import SimpleNamespace

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app import errors
from app.config import TracingSettings
from app.domain import Call, Vectors
from app.exchange import Exchange
from app.observability import tracing


@pytest.fixture
def plain():
    """A tracing object and its exporter."""
    made = InMemorySpanExporter()
    kinds, addresses = {"p": "azure", "local": "local"}, {"p": "http://up:81/v1", "local": ""}
    settings = TracingSettings("http://127.0.0.1:1/v1/traces")
    return tracing.Tracing(settings, kinds, addresses, SimpleSpanProcessor(made)), made


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (Vectors([b""], [7], encoding="base64"), {"gen_ai.usage.input_tokens": 7}),
        (Vectors([b""], [7], estimated=True), {}),
        (errors.Throttled("asked us to slow down"), {"error.type": "throttled"}),
    ],
)
def test_attributes_of_a_call_span(plain, result, expected):
    traces, exporter = plain
    call = Call("m", ["x"], None)
    span, sent = traces.start_call_span("embed", SimpleNamespace(provider_name="p"), call, [None])
    traces.end_call_span(span, result)
    (found,) = exporter.get_finished_spans()
    assert found.attributes["gen_ai.provider.name"] == "azure.ai.openai"
    assert (found.attributes["server.address"], found.attributes["server.port"]) == ("up", 81)
    assert "gen_ai.embeddings.dimension.count" not in found.attributes
    attributes = {
        n: v
        for n, v in found.attributes.items()
        if n in ("gen_ai.usage.input_tokens", "error.type")
    }
    assert attributes == expected
    assert sent.items == call.items
    assert sent.headers["traceparent"].split("-")[2] == f"{found.context.span_id:016x}"


def test_span_of_a_merged_call_has_links(plain):
    traces, exporter = plain
    asked = []
    for number in range(3):
        exchange = Exchange(
            f"r{number}", "POST", "/v1/embeddings", route="r", rule="/v1/embeddings"
        )
        traces.started(exchange, {})
        asked.append(exchange.trace)
    span, _ = traces.start_call_span(
        "embed", SimpleNamespace(provider_name="local"), Call("m", ["x"], 8), asked
    )
    traces.end_call_span(span, Vectors([b""], [1]))
    (found,) = exporter.get_finished_spans()
    assert [link.context for link in found.links] == [span.get_span_context() for span in asked]
    assert found.parent == asked[0].get_span_context()
    assert "server.address" not in found.attributes


def test_exporter_has_the_settings():
    made = tracing.exporter(TracingSettings("http://127.0.0.1:1/v1/traces", {"x-tenant": "t"}))
    exporter = (
        made.span_exporter if hasattr(made, "span_exporter") else made._batch_processor._exporter
    )
    assert exporter._endpoint == "http://127.0.0.1:1/v1/traces"
    made.shutdown()
