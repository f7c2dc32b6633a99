"""Spans for OpenTelemetry: one for each request, one for each call to a provider.

A request continues the trace of its ``traceparent`` header, and each call sends a ``traceparent``
to the provider. The span of a call with several merged requests belongs to the trace of the first
and links to all of them. Attributes follow the semantic conventions for HTTP and for generative AI
(opentelemetry.io/docs/specs/semconv/gen-ai); additional ones begin with ``embeddings_proxy``. Spans
contain no inputs and no end users.

This module is imported only if TRACING is set; dispatch uses it as `app.dispatch.events.Tracer`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    Status,
    StatusCode,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.config import TracingSettings
from app.domain import Call, Vectors
from app.errors import ProviderError

if TYPE_CHECKING:
    from app.dispatch.deployments.deployment import Deployment
    from app.exchange import Exchange

#: ``gen_ai.provider.name`` of kinds whose name differs from it.
_WELL_KNOWN = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex": "gcp.vertex_ai",
}
_context = TraceContextTextMapPropagator()


def exporter(settings: TracingSettings) -> SpanProcessor:
    """Return a processor that exports spans in batches, by OTLP over HTTP, from a thread."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    logging.getLogger(OTLPSpanExporter.__module__).addFilter(_without_texts_of_errors)
    return BatchSpanProcessor(
        OTLPSpanExporter(
            endpoint=settings.endpoint, headers=dict(settings.headers), timeout=settings.timeout
        )
    )


def _without_texts_of_errors(record: logging.LogRecord) -> bool:
    """Name the class of an error instead: its text has the address, which may hold a secret."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            type(value).__name__ if isinstance(value, BaseException) else value
            for value in record.args
        )
    return True


class Tracing:
    """Records spans, as an `app.exchange.Observer` and an `app.dispatch.events.Tracer`.

    ``kinds`` and ``addresses`` are those of the providers, by name.
    """

    def __init__(
        self,
        settings: TracingSettings,
        kinds: Mapping[str, str],
        addresses: Mapping[str, str],
        processor: SpanProcessor,
    ) -> None:
        # It warns of a wrong `tracestate`, with its text: that of any client, also without a key.
        logging.getLogger(Span.__module__).setLevel(logging.ERROR)
        self.provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.sample)),
            resource=Resource.create({"service.name": settings.service}),
        )
        self.provider.add_span_processor(processor)
        self._tracer = self.provider.get_tracer("embeddings_proxy")
        self._providers = {n: _provider_attributes(kind, addresses[n]) for n, kind in kinds.items()}

    # As an observer of exchanges

    def started(self, exchange: Exchange, environ: Mapping[str, Any]) -> None:
        if not exchange.route or exchange.path.startswith(("/health/", "/metrics")):
            return
        given = {"traceparent": environ.get("HTTP_TRACEPARENT", "")}
        if "HTTP_TRACESTATE" in environ:
            given["tracestate"] = environ["HTTP_TRACESTATE"]
        span = exchange.trace = self._tracer.start_span(
            f"{exchange.method} {exchange.rule}",
            context=_context.extract(given),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": exchange.method,
                "http.route": exchange.rule,
                "url.path": exchange.path,
                "url.scheme": environ.get("wsgi.url_scheme", "http"),
                "embeddings_proxy.request.id": exchange.id,
            },
        )
        exchange.trace_id = format_trace_id(span.get_span_context().trace_id)

    def finished(self, exchange: Exchange, status: int) -> None:
        span: Span | None = exchange.trace
        if span is None:
            return
        if span.is_recording():
            span.set_attributes(_request_attributes(exchange, status))
            if status >= 500:
                span.set_status(Status(StatusCode.ERROR))
        span.end()

    # As dispatch's tracer

    def start_call_span(
        self, model: str, deployment: Deployment, call: Call, callers: Sequence[Any]
    ) -> tuple[Span, Call]:
        spans: list[Span] = [span for span in callers if span is not None]
        links = [Link(span.get_span_context()) for span in spans] if len(spans) > 1 else []
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "embeddings",
            "gen_ai.request.model": call.model,
            **self._providers[deployment.provider_name],
            "embeddings_proxy.model": model,
            "embeddings_proxy.provider": deployment.provider_name,
            "embeddings_proxy.items": len(call.items),
            "embeddings_proxy.requests": len(callers),
        }
        if call.width is not None:
            attributes["gen_ai.embeddings.dimension.count"] = call.width
        context = set_span_in_context(spans[0]) if spans else None
        span = self._tracer.start_span(
            f"embeddings {call.model}",
            context=context,
            kind=SpanKind.CLIENT,
            attributes=attributes,
            links=links,
        )
        headers: dict[str, str] = {}
        _context.inject(headers, set_span_in_context(span))
        return span, call.with_headers(headers)

    def end_call_span(self, span: Span, result: Vectors | ProviderError) -> None:
        if isinstance(result, Vectors):
            if not result.estimated:
                span.set_attribute("gen_ai.usage.input_tokens", sum(result.tokens))
            if result.encoding is not None:
                span.set_attribute("gen_ai.request.encoding_formats", [result.encoding])
        else:
            span.set_attribute("error.type", result.cause)
            span.set_status(Status(StatusCode.ERROR, result.message))
        span.end()


def _provider_attributes(kind: str, base_url: str) -> dict[str, Any]:
    """Return the attributes of a provider."""
    attributes: dict[str, Any] = {"gen_ai.provider.name": _WELL_KNOWN.get(kind, kind)}
    address = urlsplit(base_url)
    if address.hostname:
        attributes["server.address"] = address.hostname
        attributes["server.port"] = address.port or (443 if address.scheme == "https" else 80)
    return attributes


def _request_attributes(exchange: Exchange, status: int) -> dict[str, Any]:
    """Return the attributes of a finished request."""
    attributes: dict[str, Any] = {"http.response.status_code": status}
    asked, outcome, error = exchange.request, exchange.outcome, exchange.error
    if exchange.caller is not None:
        attributes["embeddings_proxy.key"] = exchange.caller.name
    if asked is not None:
        attributes["gen_ai.request.model"] = asked.model
        attributes["embeddings_proxy.items"] = len(asked.items)
        attributes["embeddings_proxy.service_tier"] = asked.flow.tier
    if outcome is not None:
        attributes["gen_ai.usage.input_tokens"] = outcome.prompt_tokens
        attributes["embeddings_proxy.cache"] = outcome.cache
        attributes["embeddings_proxy.attempts"] = outcome.attempts
    if error is not None:
        attributes["error.type"] = error.code or error.type
    return attributes
