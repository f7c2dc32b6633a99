"""Builds the OpenAPI 3.1 document from the app's routes, schemas and errors, with apispec."""

from __future__ import annotations

import http
import re
from collections.abc import Iterable, Iterator, Set
from itertools import groupby
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask
from marshmallow import fields
from werkzeug.routing import Rule

from app import __version__
from app.api.schemas import EmbeddingSchema
from app.config import Settings
from app.console.api_docs import descriptions
from app.console.api_docs.response_schemas import SCHEMAS
from app.console.responses import SESSION_COOKIE
from app.errors import ClientError, Scope, client_errors

#: Examples name only these models, because the names of others may be confidential.
_PUBLIC_MODELS = ("wordllama", "text-embedding-3-small")
_CANONICAL = re.compile(r"/v1/(embeddings|models)")
_VARIABLE = re.compile(r"<(?:\w+:)?(\w+)>")


def document(app: Flask, settings: Settings) -> dict[str, Any]:
    """Return the OpenAPI document."""
    plugin = MarshmallowPlugin()
    spec = APISpec(
        title=descriptions.TITLE,
        version=__version__,
        openapi_version="3.1.0",
        info={"description": descriptions.ABOUT},
        servers=[{"url": "/"}],
        tags=[
            {"name": tag, **({"description": text} if text else {})}
            for tag, text in descriptions.TAGS.items()
        ],
        plugins=[plugin],
    )
    assert plugin.converter is not None  # noqa: S101 - APISpec has made it
    plugin.converter.add_attribute_function(_property)
    _components(spec, settings)
    for path, rules in groupby(
        sorted(app.url_map.iter_rules(), key=lambda r: r.rule), lambda r: r.rule
    ):
        operations = {}
        for rule in filter(_is_described, rules):
            view = app.view_functions[rule.endpoint]
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                operations[method.lower()] = _operation(
                    rule.endpoint, view.__doc__ or "", method.lower(), path
                )
        if operations:
            spec.path(_VARIABLE.sub(r"{\1}", path), operations=operations)
    return spec.to_dict()


def _is_described(rule: Rule) -> bool:
    """Return whether a route is part of the API: the console's pages and forms are not."""
    return not rule.endpoint.startswith("console.") or rule.rule.startswith("/console/api/")


def _property(_: Any, field: fields.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """Return additional properties of a request's field; apispec calls it for each field."""
    own: dict[str, Any] = getattr(field, "json_schema", {})
    return {**own, "description": descriptions.FIELDS.get(field.name or "", "")}


def _components(spec: APISpec, settings: Settings) -> None:
    spec.components.schema("EmbeddingRequest", schema=EmbeddingSchema(settings.limits.inputs))
    for name, schema in SCHEMAS.items():
        spec.components.schema(name, schema)
    for name, (text, schema) in descriptions.HEADERS.items():
        spec.components.header(name, {"description": text, "schema": schema})
    for status, kinds in _by_status({Scope.ELSEWHERE}):
        spec.components.response(f"Elsewhere{status}", _error(status, kinds))
    spec.components.security_scheme("key", {"type": "http", "scheme": "bearer"})
    cookie = {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE}
    spec.components.security_scheme("session", cookie)
    spec.components.security_scheme("azure", {"type": "apiKey", "in": "header", "name": "api-key"})
    model = next((name for name in _PUBLIC_MODELS if name in settings.models), "your-model")
    example = {"model": model, "input": ["first text", "second text"]}
    spec.components.example("two-texts", {"summary": "Two texts", "value": example})
    spec.components.parameter(
        "request-id",
        "header",
        {
            "name": "x-request-id",
            "description": "Comes back, and is logged.",
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:/+=-]{1,128}$"},
        },
    )
    spec.components.parameter(
        "space",
        "header",
        {
            "name": "x-proxy-space",
            "description": "The vector space that the model must serve; else the answer is 412.",
            "schema": {"type": "string"},
        },
    )


def _operation(endpoint: str, doc: str, method: str, path: str) -> dict[str, Any]:
    route = descriptions.ROUTES.get(endpoint) or descriptions.Route(
        "other", doc.strip().partition("\n")[0] or endpoint, needs_key=True, scopes=(Scope.KEY,)
    )
    embeds = endpoint == "api.embeddings"
    variables = _VARIABLE.findall(path)
    scopes = {Scope.EVERY, *route.scopes, *([Scope.VARIABLE] if variables else [])}
    if path.startswith("/console/") and method != "get":
        scopes.add(Scope.CONSOLE)
    found: dict[str, Any] = {
        "tags": [route.tag if _is_canonical(route, path) else "other SDKs"],
        "summary": route.summary,
        "operationId": re.sub(r"\W+", "-", f"{method}{path}").strip("-"),
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in variables
            ),
            *route.parameters,
            "request-id",
            *(["space"] if embeds else []),
        ],
        "responses": {
            "200": _answer(
                route.answer, descriptions.OF_EMBEDDINGS if embeds else descriptions.EVERYWHERE
            ),
            **{str(status): _error(status, kinds) for status, kinds in _by_status(scopes)},
        },
    }
    if endpoint == "api.ready":
        unready = _answer("Status", descriptions.EVERYWHERE, "A model cannot be served.")
        found["responses"]["503"] = unready
    if embeds:
        found["requestBody"] = {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/EmbeddingRequest"},
                    "examples": {"two-texts": "two-texts"},
                }
            },
        }
    if path.startswith("/console/api/"):
        found["security"] = [{"session": []}]
    elif route.needs_key:
        found["security"] = [{"key": []}, {"azure": []}]
    elif Scope.KEY in route.scopes:
        found["security"] = [{}, {"key": []}]
    return found


def _is_canonical(route: descriptions.Route, path: str) -> bool:
    return route.tag not in ("embeddings", "models") or bool(_CANONICAL.match(path))


def _answer(answer: str, headers: Iterable[str], text: str = "As asked.") -> dict[str, Any]:
    named = answer in SCHEMAS
    schema = {"$ref": f"#/components/schemas/{answer}"} if named else {}
    media = "application/json" if named else answer
    return {
        "description": text,
        "headers": {name: name for name in headers},
        "content": {media: {"schema": schema}},
    }


def _by_status(scopes: Set[Scope]) -> Iterator[tuple[int, list[type[ClientError]]]]:
    """Yield each status with the errors of these scopes, in order."""
    found = [kind for kind in client_errors() if scopes & set(kind.scopes)]
    found.sort(key=lambda kind: kind.status)
    for status, kinds in groupby(found, key=lambda kind: kind.status):
        yield status, list(kinds)


def _error(status: int, kinds: Iterable[type[ClientError]]) -> dict[str, Any]:
    texts = []
    codes: list[str | None] = []
    for kind in kinds:
        code = f"`{kind.code}`: " if kind.code else ""
        texts.append(code + " ".join((kind.__doc__ or "").split()))
        if kind.code not in codes:
            codes.append(kind.code)
    schema = {
        "$ref": "#/components/schemas/Error",
        "properties": {"error": {"properties": {"code": {"enum": codes}}}},
    }
    return {
        "description": f"{http.HTTPStatus(status).phrase}. " + " ".join(texts),
        "headers": {
            name: name
            for name in (*descriptions.EVERYWHERE, *descriptions.OF_ERRORS.get(status, ()))
        },
        "content": {"application/json": {"schema": schema}},
    }
