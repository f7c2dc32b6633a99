"""Spans in an exporter in memory: attributes, parents, links."""

import io
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from app import errors
from app.config import SettingsError, TracingSettings
from app.observability import tracing
from tests.api.fake import AUTH, app_with, ask, settings
from tests.observability.spans import PARENT, PROVIDERS, TRACE, TRACEPARENT, one, spans, traced
from tests.observability.spans import client as client
from tests.observability.spans import exporter as exporter
from tests.observability.spans import provider as provider
from tests.support import stalls
from tests.support.server import eventually


def test_request_and_call_have_spans(client, provider, exporter):
    answer = ask(client, input=["one two", "three"], user="u-1", headers=AUTH)
    server, call = (one(exporter, kind) for kind in (SpanKind.SERVER, SpanKind.CLIENT))
    assert server.name == "POST /v1/embeddings"
    assert server.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/embeddings",
        "http.response.status_code": 200,
        "url.path": "/v1/embeddings",
        "url.scheme": "http",
        "gen_ai.request.model": "embed",
        "gen_ai.usage.input_tokens": 3,
        "embeddings_proxy.request.id": answer.headers["x-request-id"],
        "embeddings_proxy.key": "tests",
        "embeddings_proxy.items": 2,
        "embeddings_proxy.service_tier": "default",
        "embeddings_proxy.cache": "off",
        "embeddings_proxy.attempts": 1,
    }
    assert call.name == "embeddings upstream-model"
    assert call.attributes == {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "upstream-model",
        "gen_ai.embeddings.dimension.count": 8,
        "gen_ai.usage.input_tokens": 3,
        "server.address": "up.example",
        "server.port": 443,
        "embeddings_proxy.model": "embed",
        "embeddings_proxy.provider": "fake",
        "embeddings_proxy.items": 2,
        "embeddings_proxy.requests": 1,
    }
    assert call.parent.span_id == server.context.span_id
    assert call.links == ()
    assert server.parent is None
    assert "one two" not in str([s.to_json() for s in exporter.get_finished_spans()])


def test_the_log_line_names_the_trace(client, monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr(logging.getLogger("app").handlers[0], "stream", written)
    ask(client, headers={**AUTH, "traceparent": TRACEPARENT})
    assert json.loads(written.getvalue())["trace_id"] == TRACE


def test_trace_is_continued_and_sent_to_the_provider(client, provider, exporter):
    ask(client, headers={**AUTH, "traceparent": TRACEPARENT, "tracestate": "a=1"})
    server, call = (one(exporter, kind) for kind in (SpanKind.SERVER, SpanKind.CLIENT))
    assert f"{server.context.trace_id:032x}" == TRACE
    assert f"{server.parent.span_id:016x}" == PARENT
    assert provider.calls[0].headers == {
        "traceparent": f"00-{TRACE}-{call.context.span_id:016x}-01",
        "tracestate": "a=1",
    }


@pytest.mark.parametrize("given", ["", "nonsense", f"00-{TRACE}-{'0' * 16}-01", "ff-1-2-3"])
def test_malformed_traceparent_is_ignored(client, exporter, given):
    assert ask(client, headers={**AUTH, "traceparent": given}).status_code == 200
    assert one(exporter, SpanKind.SERVER).parent is None


def test_a_merged_call_links_all_its_callers(monkeypatch, provider, exporter):
    fake = {**PROVIDERS["fake"], "concurrency": 1}
    client = app_with(
        monkeypatch,
        provider,
        PROVIDERS={"fake": fake},
        TRACING={"endpoint": "http://127.0.0.1:1/v1/traces"},
    )
    provider.hold = threading.Event()
    app = client.application
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(ask, app.test_client(), input="first")
        assert provider.entered.acquire(timeout=20)
        rest = [pool.submit(ask, app.test_client(), input=f"text {i}") for i in range(3)]
        queue = _queue(app)
        eventually(lambda: queue.waiting == 3)
        provider.hold.set()
        assert {f.result().status_code for f in (first, *rest)} == {200}
    merged = spans(exporter, SpanKind.CLIENT)[-1]
    callers = {s.context.span_id for s in spans(exporter, SpanKind.SERVER)}
    assert merged.attributes["embeddings_proxy.requests"] == 3
    linked = {link.context.span_id for link in merged.links}
    assert len(linked) == 3
    assert linked < callers
    assert merged.parent.span_id in linked


def _queue(app):
    dispatcher = app.view_functions["api.providers"].__self__._dispatcher
    return next(dispatcher.deployments())[1].queue


def test_call_of_a_cache_miss_is_in_the_trace_of_its_request(client, exporter):
    for _ in range(2):
        ask(client, caching=True)
    first, second = spans(exporter, SpanKind.SERVER)
    call = one(exporter, SpanKind.CLIENT)
    assert call.parent.span_id == first.context.span_id
    assert second.attributes["embeddings_proxy.cache"] == "hit"


@pytest.mark.parametrize(
    ("fail", "cause", "status", "code"),
    [
        (errors.ProviderUnavailable("failed with 500"), "unavailable", 502, "upstream_error"),
        (errors.Rejected("bad input"), "rejected", 400, "invalid_request_error"),
    ],
)
def test_failed_requests_have_error_spans(client, provider, exporter, fail, cause, status, code):
    provider.fail = fail
    assert ask(client, timeout=5).status_code == status
    calls, server = spans(exporter, SpanKind.CLIENT), one(exporter, SpanKind.SERVER)
    assert {call.attributes["error.type"] for call in calls} == {cause}
    assert all(call.status.status_code is StatusCode.ERROR for call in calls)
    assert server.attributes["error.type"] == code
    assert (server.status.status_code is StatusCode.ERROR) == (status >= 500)


def test_exception_in_an_adapter_ends_the_span_of_its_call(client, provider, exporter):
    provider.fail = ZeroDivisionError()
    assert ask(client).status_code == 502
    assert {call.attributes["error.type"] for call in spans(exporter, SpanKind.CLIENT)} == {
        "contract"
    }


def test_estimated_tokens_are_not_in_spans(client, provider, exporter):
    provider.estimated = True
    ask(client)
    assert "gen_ai.usage.input_tokens" not in one(exporter, SpanKind.CLIENT).attributes


def test_health_probes_and_unknown_routes_have_no_spans(client, exporter):
    for path in ("/health/live", "/health/ready", "/metrics", "/no/such/path"):
        client.get(path)
    assert exporter.get_finished_spans() == ()


def test_span_names_contain_no_models(client, exporter):
    ask(client, "/openai/deployments/embed/embeddings")
    server = one(exporter, SpanKind.SERVER)
    assert server.name == "POST /openai/deployments/<path:model>/embeddings"
    assert server.attributes["url.path"] == "/openai/deployments/embed/embeddings"


@pytest.mark.parametrize(("flag", "number"), [("00", 0), ("01", 2)])
def test_sampling_of_the_caller_is_respected(monkeypatch, provider, exporter, flag, number):
    client = traced(monkeypatch, provider, sample=0)
    ask(client)
    flags = provider.calls[0].headers["traceparent"].rpartition("-")[2]
    assert not int(flags, 16) & 1  # not sampled; the other bit means that the id is random
    ask(client, headers={**AUTH, "traceparent": f"00-{TRACE}-{PARENT}-{flag}"})
    assert provider.calls[1].headers["traceparent"].startswith(f"00-{TRACE}-")
    assert len(exporter.get_finished_spans()) == number


@pytest.mark.parametrize("state", ["text", "a=\xfftext"])
def test_a_tracestate_that_is_none_is_dropped_and_not_logged(client, provider, caplog, state):
    answer = ask(client, headers={**AUTH, "traceparent": TRACEPARENT, "tracestate": state})
    assert answer.status_code == 200
    assert "tracestate" not in provider.calls[0].headers
    assert caplog.records == []


def test_no_spans_without_the_setting(monkeypatch, provider):
    client = app_with(monkeypatch, provider)
    ask(client, headers={**AUTH, "traceparent": TRACEPARENT})
    assert provider.calls[0].headers is None
    assert provider.calls[0].trace is None


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({}, "TRACING['endpoint']: must be set"),
        ({"endpoint": "collector:4318"}, "must be an http:// or https:// address"),
        ({"endpoint": "http://c/v1/traces", "sample": 2}, "TRACING['sample']"),
        ({"endpoint": "http://c/v1/traces", "smaple": 1}, "did you mean 'sample'?"),
    ],
)
def test_wrong_settings_are_named(wrong, says):
    from app import config

    with pytest.raises(SettingsError) as caught:
        config.check(settings(TRACING=wrong))
    assert says in str(caught.value)


def test_missing_package_is_a_settings_error(monkeypatch):
    from app import config
    from app.config.sections import services

    def missing(_):
        raise ModuleNotFoundError

    for found in (missing, lambda _: None):
        monkeypatch.setattr(services, "find_spec", found)
        with pytest.raises(SettingsError, match=r"pip install '\.\[tracing\]'"):
            config.check(settings(TRACING={"endpoint": "http://c/v1/traces"}))
    config.check(settings())


def test_a_collector_that_is_away_is_logged_without_its_address(monkeypatch, caplog):
    monkeypatch.setattr("random.uniform", lambda *_: 0.0)  # no pause before a retry
    with stalls.closed_port() as closed:
        options = TracingSettings(f"{closed}/traces-7f3?key=secret-7f3")
        own = tracing.Tracing(options, {}, {}, tracing.exporter(options))
        own.provider.get_tracer("test").start_span("a span").end()
        own.provider.shutdown()
    assert "ConnectionError" in caplog.text
    assert "7f3" not in caplog.text
