"""Traces of the real server: spans at a collector, headers at a provider."""

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support import settings
from tests.support.otlp import Collector
from tests.support.server import Proxy, eventually
from tests.support.upstream import Upstream

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"
KEYS = {"tests": settings.key(settings.KEY, "*")}


def start(directory, upstream, endpoint, timeout=20, **environment):
    """Make a proxy. What a busy collector does not answer within the timeout is sent again."""
    options = {
        "endpoint": endpoint,
        "headers": {"x-tenant": "search"},
        "service": "gateway",
        "timeout": timeout,
    }
    path = settings.settings_file(
        directory,
        {"p": settings.provider(upstream)},
        {"embed": settings.model("p")},
        KEYS,
        TRACING=options,
    )
    return Proxy(directory, path, **environment)


def attributes(span):
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


def test_trace_goes_from_the_caller_to_the_provider(tmp_path):
    with (
        Upstream(settings.WIDTH) as upstream,
        Collector() as collector,
        start(tmp_path, upstream, collector.endpoint, OTEL_BSP_SCHEDULE_DELAY="100") as proxy,
    ):
        body = {"model": "embed", "input": ["a b", "c"]}
        assert proxy.client().post(body, Traceparent=TRACEPARENT).status == 200
        eventually(lambda: len(collector.spans()) == 2, what="both spans")
        server, call = sorted(collector.spans(), key=lambda span: span.kind)
        assert (server.kind, call.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
        assert server.trace_id.hex() == call.trace_id.hex() == TRACE
        assert server.parent_span_id.hex() == "b7ad6b7169203331"
        assert call.parent_span_id == server.span_id
        assert call.name == "embeddings upstream-model"
        found = attributes(call)
        assert found["gen_ai.usage.input_tokens"] == 3
        assert found["server.address"] == "127.0.0.1"
        assert found["server.port"] == upstream.port
        assert 0 < call.end_time_unix_nano - call.start_time_unix_nano < 10e9
        sent = upstream.calls[0].headers["traceparent"]
        assert sent == f"00-{TRACE}-{call.span_id.hex()}-01"
        headers, request = collector.requests[0]
        assert headers["x-tenant"] == "search"
        resource = request.resource_spans[0].resource
        assert attributes(resource)["service.name"] == "gateway"
        assert settings.KEY not in str(collector.requests)
        assert upstream.api_key not in str(collector.requests)


@pytest.mark.parametrize("worker_class", ["gevent", "gthread"])
def test_spans_are_sent_before_the_worker_ends(tmp_path, worker_class):
    with Upstream(settings.WIDTH) as upstream, Collector() as collector:
        with start(
            tmp_path,
            upstream,
            collector.endpoint,
            worker_class=worker_class,
            OTEL_BSP_SCHEDULE_DELAY="60000",
        ) as proxy:
            assert proxy.client().embed("embed", "x").status == 200
        assert len(collector.spans()) == 2


def test_missing_collector_loses_only_spans(tmp_path, providers, steady):
    endpoint = providers.closed.removesuffix("/v1") + "/v1/traces"
    with start(tmp_path, steady, endpoint, 1, OTEL_BSP_SCHEDULE_DELAY="50") as proxy:
        answers = [proxy.client().embed("embed", "x") for _ in range(5)]
        assert [answer.status for answer in answers] == [200] * 5
