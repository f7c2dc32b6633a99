"""The routes. Steps 1 to 3 of a request happen here, and the answer."""

from __future__ import annotations

import os
from typing import Any

import orjson
from flask import Blueprint, Response, request

from app.api.answers import embedding_response
from app.api.json_body import check_passed_on, parse_json
from app.api.schemas import EmbeddingSchema
from app.auth.authenticator import Authenticator
from app.config import ModelSettings, Settings
from app.dispatch import Dispatcher
from app.domain import Caller, EmbeddingRequest
from app.errors import (
    AdminOnly,
    BadRequest,
    BodyTooLarge,
    ClientError,
    ModelNotAllowed,
    ModelNotFound,
    Unauthorized,
    UnsupportedMediaType,
    UserBlocked,
    shown,
)
from app.exchange import EXCHANGE, Exchange
from app.limits.limiter import Limiter
from app.pipeline import Pipeline

_NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header "
    "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
)

MAX_MODEL_SHOWN = 128  # characters of a model's name in an answer
_JSON_TYPES = ("", "application/json")


class Api:
    """The handlers, with the parts they need."""

    def __init__(
        self,
        settings: Settings,
        door: Authenticator,
        limiter: Limiter,
        pipeline: Pipeline,
        dispatcher: Dispatcher,
    ) -> None:
        self._models = settings.models
        self._schema = EmbeddingSchema(settings.limits.inputs)
        self._body_bytes = settings.limits.body_bytes
        self._door = door
        self._blocked_users = settings.blocked_users
        self._limiter = limiter
        self._pipeline = pipeline
        self._dispatcher = dispatcher

    def blueprint(self) -> Blueprint:
        """OpenAI's paths, and those under which other SDKs ask for the same."""
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
        asked = self._request(environ, caller, model)
        if asked.user in self._blocked_users:
            raise UserBlocked("This user is blocked. Ask the operators of this service.")
        deadline = exchange.started + asked.timeout
        grant = exchange.grant = self._limiter.admit(caller, asked)
        exchange.admitted = True
        try:
            outcome = exchange.outcome = self._pipeline.run(asked, caller, deadline)
        except ClientError as error:
            exchange.error = error
            raise
        finally:
            if grant is not None:
                self._limiter.settle(grant, exchange.outcome, exchange.purchases)
        return embedding_response(outcome, asked.model, asked.encoding, lambda: exchange.seconds)

    def models(self) -> Response:
        caller = self.caller()
        shown = [_describe(m) for name, m in self._models.items() if caller.may_use(name)]
        return _json({"object": "list", "data": shown})

    def model(self, name: str) -> Response:
        caller = self.caller()
        if name not in self._models or not caller.may_use(name):
            raise _no_such_model(name)
        return _json(_describe(self._models[name]))

    def providers(self) -> Response:
        """Each deployment's state as this worker sees it, for administrators."""
        self.must_be_admin()
        return _json({"object": "list", "worker": os.getpid(), "data": self._dispatcher.report()})

    def must_be_admin(self) -> None:
        """Let nobody else pass."""
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
        """Who asks, for views that need to know nothing else of the request."""
        return self._identify(request.environ)

    def _identify(self, environ: dict[str, Any]) -> Caller:
        """Step 2: who asks. OpenAI's clients send a bearer key, Azure's an ``api-key`` header."""
        scheme, _, key = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        key = key.strip() if scheme.lower() == "bearer" else environ.get("HTTP_API_KEY", "")
        if not key:
            raise Unauthorized(_NO_KEY)
        caller, networks = self._door.identify(key)
        environ[EXCHANGE].caller = caller  # also where it is turned away: the ledger tells who was
        self._door.check(caller, networks, environ[EXCHANGE].client)
        return caller

    def _request(
        self, environ: dict[str, Any], caller: Caller, model: str | None
    ) -> EmbeddingRequest:
        """Step 3: the body, checked against the schema and then against its model."""
        exchange: Exchange = environ[EXCHANGE]
        parsed = self._schema.parse(parse_json(_body(environ, self._body_bytes)), model)
        asked = exchange.request = parsed.request
        if exchange.trace is not None:
            parsed = parsed.traced(exchange.trace)
            asked = parsed.request
        settings = self._models.get(asked.model)
        if settings is None:
            raise _no_such_model(asked.model)
        if not caller.may_use(asked.model):
            raise ModelNotAllowed(
                f"This key may not use the model `{shown(asked.model, MAX_MODEL_SHOWN)}`."
            )
        for name in parsed.extra:
            if name not in settings.passes:
                raise BadRequest(
                    f"Unrecognized request argument supplied: {shown(name)}", param=name
                )
            check_passed_on(name, parsed.extra[name])
        return parsed.with_extra() if parsed.extra else asked


def _body(environ: dict[str, Any], limit: int) -> bytes:
    # The usual type is not worth parsing.
    if environ.get("CONTENT_TYPE") != "application/json" and request.mimetype not in _JSON_TYPES:
        refused = UnsupportedMediaType(
            f"Unsupported content type: '{shown(request.mimetype)}'. Send application/json."
        )
        refused.log_message = "unsupported content type"  # there may be anything in it
        raise refused
    if environ.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        raise UnsupportedMediaType("The body must not be compressed.")
    # Read by hand: werkzeug cuts a body without a length off at the limit instead of refusing it.
    length = _length(environ)
    if length is None and not environ.get("wsgi.input_terminated"):
        return b""
    if length is not None and length > limit:
        raise _too_large(limit)
    try:
        body: bytes = environ["wsgi.input"].read(limit + 1 if length is None else length)
    except Exception as error:  # the server's own errors: broken chunks, a client that left
        raise BadRequest("The request body could not be read.") from error
    if len(body) > limit:
        raise _too_large(limit)
    if length is not None and len(body) < length:
        raise BadRequest("The request body ended early.")
    return body


def _length(environ: dict[str, Any]) -> int | None:
    """Of the body, in bytes; None for one in chunks, and where there is none."""
    text: str = environ.get("CONTENT_LENGTH", "")
    if text.isascii() and text.isdigit() and "HTTP_TRANSFER_ENCODING" not in environ:
        return int(text)
    return request.content_length


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request body is larger than the {limit} bytes allowed here.")


def _no_such_model(name: str) -> ModelNotFound:
    name = shown(name, MAX_MODEL_SHOWN)
    return ModelNotFound(f"The model `{name}` does not exist or you do not have access to it.")


def _describe(model: ModelSettings) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": 0,  # nobody knows, and clients want a number
        "owned_by": model.deployments[0].provider,
        "dimensions": model.dimensions,
    }


def _json(payload: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(payload), status=status, content_type="application/json")
