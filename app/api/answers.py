"""Vectors and errors → the bytes OpenAI would answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from flask import Response

from app.concurrency.yielding import ROWS_PER_YIELD, yield_control
from app.domain import Encoding, Outcome
from app.errors import ClientError
from app.vectors import to_base64, to_json

#: How a row is written, and what stands before and after it.
_FORMS: dict[Encoding, tuple[Callable[[bytes], bytes], bytes, bytes]] = {
    "float": (to_json, b'{"object":"embedding","index":%d,"embedding":', b"},"),
    "base64": (to_base64, b'{"object":"embedding","index":%d,"embedding":"', b'"},'),
}


class PrebuiltResponse(Response):
    """A 200 with a body of JSON and nothing left for werkzeug to find out about it.

    ``told`` are all its headers but the type, in the words of HTTP.
    """

    def __init__(self, pieces: list[bytes], told: list[tuple[str, str]]) -> None:
        super().__init__(pieces, content_type="application/json")
        self.told = told

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(self.status, [*self.headers, *self.told])
        return self.response  # type: ignore[return-value]  # as it was given


def embedding_response(
    outcome: Outcome, model: str, encoding: Encoding, clock: Callable[[], float]
) -> Response:
    """OpenAI's embedding list, with the headers that tell how it came about.

    ``clock`` gives the seconds since the request came.
    """
    pieces = body(outcome, model, encoding)
    told = [
        ("Content-Length", str(sum(map(len, pieces)))),
        ("x-proxy-cache", outcome.cache),
        ("x-proxy-cached-tokens", str(outcome.cached_tokens)),
        ("x-proxy-provider", outcome.provider),
        ("x-proxy-attempts", str(outcome.attempts)),
        (
            "Server-Timing",
            f"upstream;dur={outcome.upstream_seconds * 1000:.2f}, total;dur={clock() * 1000:.2f}",
        ),
    ]
    if outcome.vectors.estimated:
        told.append(("x-proxy-usage", "estimated"))
    return PrebuiltResponse(pieces, told)


def body(outcome: Outcome, model: str, encoding: Encoding) -> list[bytes]:
    """The pieces of the JSON answer, in order."""
    render, before, after = _FORMS[encoding]
    step = 8 * ROWS_PER_YIELD if encoding == "base64" else ROWS_PER_YIELD  # a tenth of the work
    rows, tokens = outcome.vectors.rows, outcome.prompt_tokens
    parts, pieces = [b'{"object":"list","data":['], []
    for start in range(0, len(rows), step):
        for index, row in enumerate(rows[start : start + step], start):
            parts += (before % index, render(row), after)
        if start + step < len(rows):
            pieces.append(b"".join(parts))
            parts.clear()
            yield_control()
    parts[-1] = parts[-1][:-1]  # no comma after the last
    usage = b'],"model":%b,"usage":{"prompt_tokens":%d,"total_tokens":%d}}'
    parts.append(usage % (orjson.dumps(model), tokens, tokens))
    pieces.append(b"".join(parts))  # once, for an answer may be long
    return pieces


def error_response(error: ClientError) -> Response:
    """OpenAI's error object, with the headers its SDKs act on."""
    response = Response(
        orjson.dumps(error.payload), status=error.status, content_type="application/json"
    )
    if error.retry_after is not None:
        # Whole seconds, rounded up: earlier would be refused again.
        response.headers["Retry-After"] = str(max(1, -int(-error.retry_after // 1)))
    if error.should_retry is not None:
        response.headers["x-should-retry"] = "true" if error.should_retry else "false"
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    response.headers.update(error.headers)
    return response
