"""Vectors and errors → the bytes OpenAI would answer."""

from __future__ import annotations

from collections.abc import Callable

import orjson
from flask import Response

from app.domain import Encoding, Outcome
from app.errors import ClientError
from app.vectors import to_base64, to_json

#: Rows written into one piece of the body: large answers are not copied together.
_ROWS_A_PIECE = 64


def embedding_response(outcome: Outcome, model: str, encoding: Encoding) -> Response:
    """OpenAI's embedding list, with the headers that tell how it came about."""
    response = Response(body(outcome, model, encoding), status=200, content_type="application/json")
    headers = response.headers
    headers["x-proxy-cache"] = outcome.cache
    headers["x-proxy-cached-tokens"] = str(outcome.cached_tokens)
    headers["x-proxy-provider"] = outcome.provider
    headers["x-proxy-attempts"] = str(outcome.attempts)
    if outcome.vectors.estimated:
        headers["x-proxy-usage"] = "estimated"
    return response


def body(outcome: Outcome, model: str, encoding: Encoding) -> list[bytes]:
    """The pieces of the JSON answer, in order."""
    render: Callable[[bytes], bytes] = _quoted if encoding == "base64" else to_json
    rows = outcome.vectors.rows
    pieces = []
    opening = b'{"object":"list","data":['
    for start in range(0, len(rows), _ROWS_A_PIECE):
        pieces.append(
            opening
            + b",".join(
                b'{"object":"embedding","index":%d,"embedding":%b}' % (index, render(row))
                for index, row in enumerate(rows[start : start + _ROWS_A_PIECE], start)
            )
        )
        opening = b","
    tokens = outcome.prompt_tokens
    pieces[-1] += b'],"model":%b,"usage":{"prompt_tokens":%d,"total_tokens":%d}}' % (
        orjson.dumps(model),
        tokens,
        tokens,
    )
    return pieces


def _quoted(row: bytes) -> bytes:
    return b'"%b"' % to_base64(row)


def error_response(error: ClientError) -> Response:
    """OpenAI's error object, with the headers its SDKs act on."""
    payload = {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    }
    response = Response(orjson.dumps(payload), status=error.status, content_type="application/json")
    if error.retry_after is not None:
        # Whole seconds, rounded up: earlier would be refused again.
        response.headers["Retry-After"] = str(max(1, -int(-error.retry_after // 1)))
    if error.should_retry is not None:
        response.headers["x-should-retry"] = "true" if error.should_retry else "false"
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    response.headers.update(error.headers)
    return response
