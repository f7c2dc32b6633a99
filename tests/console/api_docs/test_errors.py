"""/openapi.json lists the errors of each path."""

import re

import pytest

from app import errors
from tests.api.fake import AUTH, error_of


def codes_by_operation(document):
    """(path, method) → {(status, code)} of the document."""
    return {
        (path, method): {
            (int(status), code)
            for status, answer in operation["responses"].items()
            if not status.startswith("2")
            for code in _codes(answer)
        }
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def _codes(answer):
    schema = answer["content"]["application/json"]["schema"]
    return (
        schema.get("properties", {})
        .get("error", {})
        .get("properties", {})
        .get("code", {})
        .get("enum", [])
    )


def _kinds(kind):
    for below in kind.__subclasses__():
        if below.__module__.startswith("app."):
            yield below
            yield from _kinds(below)


def test_every_error_of_the_app_is_defined_in_errors(document):
    kinds = list(_kinds(errors.ClientError))
    assert [kind for kind in kinds if getattr(errors, kind.__name__, None) is not kind] == []


def test_document_has_every_error(with_usage):
    document = with_usage.get("/openapi.json").json
    documented = set().union(*codes_by_operation(document).values())
    for answer in document["components"]["responses"].values():
        documented |= {(int(name), code) for name in ("404", "405") for code in _codes(answer)}
    for kind in _kinds(errors.ClientError):
        is_documented = (kind.status, kind.code) in documented
        assert is_documented is (kind.scopes != (errors.Scope.UNREAD,)), kind


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (
            ("/v1/embeddings", "post"),
            {
                (400, None),
                (412, "space_changed"),
                (429, "insufficient_quota"),
                (500, "incomplete_answer"),
                (503, "keys_unavailable"),
                (503, "usage_unavailable"),
                (403, "user_blocked"),
                (400, "invalid_http"),
                (431, "headers_too_large"),
            },
        ),
        (
            ("/v1/usage", "get"),
            {
                (400, None),
                (401, "invalid_api_key"),
                (403, "key_blocked"),
                (503, "usage_unavailable"),
                (503, "keys_unavailable"),
            },
        ),
        (("/v1/models/{name}", "get"), {(404, "model_not_found"), (403, "network_not_allowed")}),
        (("/v1/providers", "get"), {(403, "admin_required")}),
        (("/metrics", "get"), {(401, "invalid_api_key"), (403, "admin_required")}),
        (("/health/live", "get"), {(500, "internal_error"), (408, "request_timeout")}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "its errors",
)
def test_each_path_lists_its_errors(with_usage, operation, expected):
    found = codes_by_operation(with_usage.get("/openapi.json").json)[operation]
    known = {(kind.status, kind.code) for kind in _kinds(errors.ClientError)}
    assert expected & known <= found
    if operation[0] == "/health/live":
        assert not {status for status, _ in found} & {401, 403, 429, 502, 504}


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("POST", "/v1/embeddings", {"json": {"model": "embed"}, "headers": AUTH}),
        ("POST", "/v1/embeddings", {"json": {"model": "no", "input": "x"}, "headers": AUTH}),
        ("POST", "/v1/embeddings", {"json": {}}),
        ("POST", "/v1/embeddings", {"data": b"x", "headers": {**AUTH, "Content-Type": "a/b"}}),
        ("GET", "/v1/models", {}),
        ("GET", "/v1/models/no", {"headers": AUTH}),
        ("GET", "/v1/providers", {"headers": AUTH}),
        ("GET", "/v1/usage?since=yesterday", {"headers": AUTH}),
        ("GET", "/v1/usage", {"headers": AUTH}),
        ("GET", "/docs/none", {}),
    ],
)
def test_errors_of_real_responses_are_listed(with_usage, method, path, options):
    answer = error_of(with_usage.open(path, method=method, **options))
    described = codes_by_operation(with_usage.get("/openapi.json").json)
    place = re.sub(r"[?].*", "", path)
    place = re.sub(r"^/(v1/models|docs)/.*", r"/\1/{name}", place)
    assert (answer.status, answer.code) in described[place, method.lower()]
