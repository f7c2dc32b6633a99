"""Flask hooks of every request: make its `Exchange`, call observers, turn errors into responses."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from app import errors
from app.api.answers import PrebuiltResponse, error_response
from app.api.client_address import ClientAddresses
from app.errors import ClientError, shown
from app.exchange import EXCHANGE, WAITED_S, Exchange, Observer, StartObserver, request_id

_log = logging.getLogger("app.errors")
MAX_METHOD_SHOWN = 32  # characters of a method in an error message
MAX_PATH_SHOWN = 128  # characters of a path in an error message
_COMMON_HEADERS = ("cache-control", "no-store"), ("x-content-type-options", "nosniff")


def install(
    app: Flask,
    observers: Sequence[Observer],
    start_observers: Sequence[StartObserver] = (),
    addresses: ClientAddresses | None = None,
) -> None:
    """Add the hooks to an app; observers are called in the order given."""
    find_client = (addresses or ClientAddresses()).find

    def begin() -> None:
        # The request itself: each attribute read through the LocalProxy would look it up again.
        current = request._get_current_object()  # type: ignore[attr-defined]  # of a LocalProxy
        environ, rule = current.environ, current.url_rule
        exchange = environ[EXCHANGE] = Exchange(
            request_id(environ.get("HTTP_X_REQUEST_ID")), current.method, current.path
        )
        exchange.started -= environ.get(WAITED_S, 0.0)
        exchange.client = find_client(environ)
        if rule is not None:
            exchange.route, exchange.rule = rule.endpoint, rule.rule
        for start_observer in start_observers:
            start_observer.started(exchange, environ)

    def end(response: Response) -> Response:
        exchange: Exchange = request.environ[EXCHANGE]
        added = [("x-request-id", exchange.id), *_COMMON_HEADERS]
        if exchange.space:
            added.append(("x-proxy-space", exchange.space))
        if exchange.grant is not None:
            added += exchange.grant.headers.items()
        if isinstance(response, PrebuiltResponse):
            response.header_list += added
        else:
            headers = response.headers
            # A view's own header has precedence: static pages set another Cache-Control.
            headers.extend(pair for pair in added if pair[0] not in headers)
        exchange.seconds = exchange.elapsed()
        for observer in observers:
            observer.finished(exchange, response.status_code)
        return response

    app.before_request(begin)
    app.after_request(end)
    app.register_error_handler(ClientError, _respond)
    app.register_error_handler(HTTPException, _translate)
    app.register_error_handler(Exception, _respond_to_bug)


def _respond(error: ClientError) -> Response:
    request.environ[EXCHANGE].error = error
    errors.drop_tracebacks(error)
    return error_response(error)


def _translate(error: HTTPException) -> Response:
    """Turn an error of werkzeug into a response in OpenAI's format."""
    errors.drop_tracebacks(error)
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        response = _respond(
            errors.MethodNotAllowed(f"Not allowed to {_shown_target(' on ')}. (Allowed: {allowed})")
        )
        response.headers["Allow"] = allowed
        return response
    if error.code == 404:
        return _respond(errors.NotFound(f"Invalid URL ({_shown_target()})"))
    if error.code is not None and 400 <= error.code < 500:
        return _respond(errors.BadRequest("The request could not be read."))
    return _respond_to_bug(error)


def _shown_target(between: str = " ") -> str:
    """Return method and path of the request, shortened for a message."""
    return (
        f"{shown(request.method, MAX_METHOD_SHOWN)}{between}{shown(request.path, MAX_PATH_SHOWN)}"
    )


def _respond_to_bug(error: Exception) -> Response:
    """Log the traceback, and answer 500 without details: they may hold secrets."""
    _log.error("request %s failed by a bug", request.environ[EXCHANGE].id, exc_info=error)
    errors.drop_tracebacks(error)
    return _respond(errors.InternalError("The server had an error while processing your request."))
