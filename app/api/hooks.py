"""What happens around every request: its exchange, its errors in OpenAI's shape, its log line."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from app import errors
from app.api.answers import PrebuiltResponse, error_response
from app.api.client_address import ClientAddresses
from app.errors import ClientError, shown
from app.exchange import EXCHANGE, Exchange, Observer, StartObserver, request_id

_log = logging.getLogger("app.errors")
MAX_METHOD_SHOWN = 32  # characters of a method …
MAX_PATH_SHOWN = 128  # … and of a path, in an answer
_USUAL = ("cache-control", "no-store"), ("x-content-type-options", "nosniff")


def install(
    app: Flask,
    observers: Sequence[Observer],
    start_observers: Sequence[StartObserver] = (),
    addresses: ClientAddresses | None = None,
) -> None:
    """Add the hooks to an app; each observer is told of every exchange, in order."""
    find_client = (addresses or ClientAddresses()).find

    def begin() -> None:
        this = request._get_current_object()  # type: ignore[attr-defined]  # a LocalProxy's
        environ, rule = this.environ, this.url_rule
        exchange = environ[EXCHANGE] = Exchange(
            request_id(environ.get("HTTP_X_REQUEST_ID")), this.method, this.path
        )
        exchange.client = find_client(environ)
        if rule is not None:
            exchange.route, exchange.rule = rule.endpoint, rule.rule
        for greeter in start_observers:
            greeter.started(exchange, environ)

    def end(response: Response) -> Response:
        exchange: Exchange = request.environ[EXCHANGE]
        told = [("x-request-id", exchange.id), *_USUAL]
        if exchange.grant is not None:
            told += exchange.grant.headers.items()
        if isinstance(response, PrebuiltResponse):
            response.told += told
        else:
            headers = response.headers
            # Pages that may be kept say so.
            headers.extend(pair for pair in told if pair[0] not in headers)
        for observer in observers:
            observer.finished(exchange, response.status_code)
        return response

    app.before_request(begin)
    app.after_request(end)
    app.register_error_handler(ClientError, _answer)
    app.register_error_handler(HTTPException, _translate)
    app.register_error_handler(Exception, _surprise)


def _answer(error: ClientError) -> Response:
    request.environ[EXCHANGE].error = error
    errors.drop_tracebacks(error)
    return error_response(error)


def _translate(error: HTTPException) -> Response:
    """werkzeug's errors → ours."""
    errors.drop_tracebacks(error)
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        response = _answer(
            errors.MethodNotAllowed(f"Not allowed to {_shown_target(' on ')}. (Allowed: {allowed})")
        )
        response.headers["Allow"] = allowed
        return response
    if error.code == 404:
        return _answer(errors.NotFound(f"Invalid URL ({_shown_target()})"))
    if error.code is not None and 400 <= error.code < 500:
        return _answer(errors.BadRequest("The request could not be read."))
    return _surprise(error)


def _shown_target(between: str = " ") -> str:
    return (
        f"{shown(request.method, MAX_METHOD_SHOWN)}{between}{shown(request.path, MAX_PATH_SHOWN)}"
    )


def _surprise(error: Exception) -> Response:
    _log.error("request %s failed by a bug", request.environ[EXCHANGE].id, exc_info=error)
    errors.drop_tracebacks(error)
    return _answer(errors.InternalError("The server had an error while processing your request."))
