"""Write vectors and errors as responses in the format of OpenAI's API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from flask import Response

from app.concurrency.yielding import ROWS_PER_YIELD, yield_control
from app.domain import Encoding, Outcome
from app.errors import ClientError
from app.vectors import to_base64, to_json

#: By encoding: the function that writes a row, and the bytes before and after a row.
_FORMS: dict[Encoding, tuple[Callable[[bytes], bytes], bytes, bytes]] = {
    "float": (to_json, b'{"object":"embedding","index":%d,"embedding":', b"},"),
    "base64": (to_base64, b'{"object":"embedding","index":%d,"embedding":"', b'"},'),
}


class PrebuiltResponse(Response):
    """A complete JSON response with status 200; ``header_list`` are its headers, as in WSGI.

    werkzeug makes objects of a response's status and headers, which takes 6 µs. This one has
    neither: only what is overridden here may be used.
    """

    status_code = 200

    def __init__(self, pieces: list[bytes], header_list: list[tuple[str, str]]) -> None:
        self.response = pieces
        self.header_list = [("Content-Type", "application/json"), *header_list]

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", self.header_list)
        return self.response  # type: ignore[return-value]  # the list given to __init__


def embedding_response(
    outcome: Outcome, model: str, encoding: Encoding, clock: Callable[[], float]
) -> Response:
    """Return OpenAI's embedding list, with headers about cache, provider, attempts and times.

    ``clock`` returns the seconds since the request arrived.
    """
    pieces = body(outcome, model, encoding)
    headers = [
        ("Content-Length", str(sum(map(len, pieces)))),
        ("x-proxy-cache", outcome.cache),
        ("x-proxy-cached-tokens", str(outcome.cached_tokens)),
        ("x-proxy-provider", outcome.provider),
        ("x-proxy-attempts", str(outcome.attempts)),
        ("Server-Timing", _server_timing(outcome, clock())),
    ]
    if outcome.vectors.estimated:
        headers.append(("x-proxy-usage", "estimated"))
    return PrebuiltResponse(pieces, headers)


def _server_timing(outcome: Outcome, total_s: float) -> str:
    return (
        f"queue;dur={outcome.queue_seconds * 1000:.2f}, "
        f"upstream;dur={outcome.upstream_seconds * 1000:.2f}, total;dur={total_s * 1000:.2f}"
    )


def body(outcome: Outcome, model: str, encoding: Encoding) -> list[bytes]:
    """Return the JSON of a response in pieces; a gevent worker may switch between two of them."""
    render, before, after = _FORMS[encoding]
    step = 8 * ROWS_PER_YIELD if encoding == "base64" else ROWS_PER_YIELD  # base64 is quicker
    rows, tokens = outcome.vectors.rows, outcome.prompt_tokens
    written, pieces = [b'{"object":"list","data":['], []
    for start in range(0, len(rows), step):
        for index, row in enumerate(rows[start : start + step], start):
            written += (before % index, render(row), after)
        if start + step < len(rows):
            pieces.append(b"".join(written))
            written.clear()
            yield_control()
    written[-1] = written[-1][:-1]  # no comma after the last row
    usage = b'],"model":%b,"usage":{"prompt_tokens":%d,"total_tokens":%d}}'
    written.append(usage % (orjson.dumps(model), tokens, tokens))
    pieces.append(b"".join(written))
    return pieces


def error_response(error: ClientError) -> Response:
    """Return OpenAI's error object, with the headers that its SDKs evaluate."""
    response = Response(
        orjson.dumps(error.payload), status=error.status, content_type="application/json"
    )
    if error.retry_after is not None:
        # Whole seconds, rounded up: an earlier retry would be refused again.
        response.headers["Retry-After"] = str(max(1, -int(-error.retry_after // 1)))
    if error.should_retry is not None:
        response.headers["x-should-retry"] = "true" if error.should_retry else "false"
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    response.headers.update(error.headers)
    return response
