"""The routes of the API. That of embeddings takes a request from step 2 to step 9 (see `app`)."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import orjson
from flask import Blueprint, Response, request

from app.api.answers import embedding_response
from app.api.client import has_left
from app.api.embedder import Embedder, no_such_model
from app.api.json_body import parse_json, read_body
from app.auth.authenticator import Authenticator
from app.config import ModelSettings, Settings
from app.dispatch import Dispatcher
from app.domain import Caller
from app.errors import AdminOnly, Unauthorized
from app.exchange import EXCHANGE, Exchange

_NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header "
    "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
)


class Api:
    """The handlers of all routes for embeddings, models, providers and health."""

    def __init__(
        self,
        settings: Settings,
        authenticator: Authenticator,
        embedder: Embedder,
        dispatcher: Dispatcher,
    ) -> None:
        self._models = settings.models
        self._body_bytes = settings.limits.body_bytes
        self._authenticator = authenticator
        self._embedder = embedder
        self._dispatcher = dispatcher

    def blueprint(self) -> Blueprint:
        """Return the routes: OpenAI's paths, and the paths that other SDKs use."""
        api = Blueprint("api", __name__)

        def route(path: str, view: Any, method: str) -> None:
            api.add_url_rule(path, view_func=view, methods=[method], strict_slashes=False)

        for path in (
            "/v1/embeddings",
            "/embeddings",
            "/openai/v1/embeddings",
            "/openai/deployments/<path:model>/embeddings",
            "/v1/engines/<path:model>/embeddings",
        ):
            route(path, self.embeddings, "POST")
        for path in ("/v1/models", "/models", "/openai/v1/models"):
            route(path, self.models, "GET")
            route(f"{path}/<path:name>", self.model, "GET")
        route("/v1/providers", self.providers, "GET")
        route("/health/live", self.live, "GET")
        route("/health/ready", self.ready, "GET")
        return api

    def embeddings(self, model: str | None = None) -> Response:
        environ = request.environ
        exchange: Exchange = environ[EXCHANGE]
        caller = self._identify(environ)
        payload = parse_json(read_body(environ, self._body_bytes))
        space = environ.get("HTTP_X_PROXY_SPACE")
        checked = self._embedder.check(exchange, caller, payload, model, space)
        outcome = self._embedder.embed(exchange, caller, checked, partial(has_left, environ))
        return embedding_response(outcome, checked.model, checked.encoding, exchange.elapsed)

    def models(self) -> Response:
        caller = self.caller()
        listed = [_describe(m) for name, m in self._models.items() if caller.may_use(name)]
        return _json({"object": "list", "data": listed})

    def model(self, name: str) -> Response:
        caller = self.caller()
        if name not in self._models or not caller.may_use(name):
            raise no_such_model(name)
        return _json(_describe(self._models[name]))

    def providers(self) -> Response:
        """Return each deployment's state in this worker; for administrators only."""
        self.require_admin()
        return _json({"object": "list", "worker": os.getpid(), "data": self._dispatcher.report()})

    def require_admin(self) -> None:
        """Raise `AdminOnly` unless the caller is an administrator."""
        caller = self.caller()
        if not caller.admin:
            raise AdminOnly('This key may not see that: "admin" is not set for it.')

    def live(self) -> Response:
        return _json({"status": "ok"})

    def ready(self) -> Response:
        waiting = self._dispatcher.unavailable_models()
        if waiting:
            return _json({"status": "unavailable", "models": waiting}, 503)
        return _json({"status": "ok"})

    def caller(self) -> Caller:
        """Authenticate the current request, for views that need nothing else of it."""
        return self._identify(request.environ)

    def _identify(self, environ: dict[str, Any]) -> Caller:
        """Authenticate a request (step 2): by a bearer key, or Azure's header ``api-key``."""
        scheme, _, key = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        key = key.strip() if scheme.lower() == "bearer" else ""
        key = key or environ.get("HTTP_API_KEY", "")
        if not key:
            raise Unauthorized(_NO_KEY)
        caller, networks = self._authenticator.identify(key)
        environ[EXCHANGE].caller = caller  # before the check: the ledger names refused callers, too
        self._authenticator.check(caller, networks, environ[EXCHANGE].client)
        return caller


def _describe(model: ModelSettings) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": 0,  # not known; clients require a number
        "owned_by": model.deployments[0].provider,
        "dimensions": model.dimensions,
        "space": model.space,
    }


def _json(payload: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(payload), status=status, content_type="application/json")
