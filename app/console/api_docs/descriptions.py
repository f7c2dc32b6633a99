"""Texts of the OpenAPI document: fields, headers and routes."""

from __future__ import annotations

from typing import Any, NamedTuple

from app.errors import Scope
from app.limits.rules import HEADER_UNITS

TITLE = "Embeddings proxy"
ABOUT = """\
OpenAI's embeddings API in front of many providers. SDKs need nothing but another `base_url`.

Press **Authorize**, paste a key, open `POST /v1/embeddings` and press **Execute**. The key stays in
this page and is gone with it.
"""

#: Descriptions of the request's fields; a test requires one for every field.
FIELDS = {
    "model": "A model that the key may use: see `GET /v1/models`. One in the path wins.",
    "input": "What to embed: a text, a list of texts, a list of token ids, or a list of those.",
    "encoding_format": "`base64` is float32, little-endian. Default: `float`.",
    "dimensions": "Width of the vectors, where the model has a choice.",
    "user": "Your end user: logged, metered, and sent to providers that are configured for it.",
    "input_type": "Purpose of the texts, in the terms of providers that distinguish purposes.",
    "timeout": "Total timeout in seconds, with queueing, retries and fail-overs. Default: 600.",
    "caching": "Whether vectors may come from the cache. Default: false.",
    "service_tier": "Which requests go first where calls queue for a provider: `priority`, then "
    "`default`, then `flex`, which is for bulk work. Default: `auto`, the tier of the key.",
}

_STRING: dict[str, Any] = {"type": "string"}
_COUNT: dict[str, Any] = {"type": "string", "pattern": "^[0-9]+$"}

#: Response headers by name: description and schema.
HEADERS: dict[str, tuple[str, dict[str, Any]]] = {
    "x-request-id": ("Yours if it was well-formed, else a new one.", _STRING),
    "x-proxy-cache": (
        "Whether the vectors came from the cache: none, some or all.",
        {"type": "string", "enum": ["off", "miss", "partial", "hit"]},
    ),
    "x-proxy-cached-tokens": ("Tokens of what came from the cache.", _COUNT),
    "x-proxy-provider": (
        "The providers, joined by commas; empty if all vectors were cached.",
        _STRING,
    ),
    "x-proxy-attempts": ("Calls to providers that it took.", _COUNT),
    "x-proxy-space": (
        "The vector space of the model. In a request: 412 unless the model serves this space.",
        _STRING,
    ),
    "x-proxy-usage": ("`estimated` where the provider counted no tokens.", _STRING),
    "Server-Timing": (
        "Milliseconds: in a `queue` or before a retry, waiting for `upstream`, and in `total`.",
        _STRING,
    ),
    "Retry-After": ("Seconds until a retry may succeed.", _COUNT),
    "x-should-retry": (
        "Whether OpenAI's SDKs should retry; absent: their default.",
        {"type": "string", "enum": ["true", "false"]},
    ),
    "WWW-Authenticate": ("The authentication scheme.", _STRING),
    "Allow": ("The methods that the path has.", _STRING),
} | {
    f"x-ratelimit-{value}-{unit}": (f"{text} the limit of {unit} with the least remaining.", schema)
    for unit in HEADER_UNITS
    for value, text, schema in (
        ("limit", "Only of keys with limits:", _COUNT),
        ("remaining", "What remains of", _COUNT),
        ("reset", "How long until no usage counts any more, as in `6m0s`, of", _STRING),
    )
}
EVERYWHERE = ("x-request-id",)
LIMIT_HEADERS = tuple(name for name in HEADERS if name.startswith("x-ratelimit-"))
OF_EMBEDDINGS = (
    *EVERYWHERE,
    *(name for name in HEADERS if name.startswith("x-proxy-")),
    "Server-Timing",
    *LIMIT_HEADERS,
)
#: Headers of errors, by status.
OF_ERRORS = {
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    412: ("x-proxy-space", "x-should-retry"),
    429: ("Retry-After", "x-should-retry", *LIMIT_HEADERS),
    502: ("x-should-retry",),
    503: ("Retry-After",),
    504: ("x-should-retry",),
}


class Route(NamedTuple):
    """The description of a view. ``answer`` is the name of a schema, or a media type.

    ``scopes`` are those of the errors that it can answer with, besides those of every request. If
    ``needs_key`` is False and `Scope.KEY` is among them, only some callers need a key.
    """

    tag: str
    summary: str
    answer: str = "application/json"
    needs_key: bool = False
    scopes: tuple[Scope, ...] = ()
    parameters: tuple[dict[str, Any], ...] = ()


#: In the order in which the page shows them.
TAGS = {
    "embeddings": "",
    "models": "",
    "other SDKs": "The same under the paths that AzureOpenAI, openai 0.28 and others ask.",
    "operation": "For operators.",
    "console": "For the console's pages: with its cookie, and `x-csrf-token` for a change.",
    "other": "",
}

_KEY = (Scope.KEY,)


def _query(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": text, "schema": _STRING}


#: Descriptions by Flask's endpoint. Other views are described by their docstring.
ROUTES = {
    "api.embeddings": Route(
        "embeddings", "Vectors for inputs", "EmbeddingResponse", True, (Scope.KEY, Scope.EMBEDDINGS)
    ),
    "api.models": Route("models", "The models that the key may use", "ModelList", True, _KEY),
    "api.model": Route("models", "One of them", "Model", True, (Scope.KEY, Scope.MODEL)),
    "api.providers": Route(
        "operation",
        "The state of each deployment, for administrators",
        "ProviderList",
        True,
        (Scope.KEY, Scope.ADMIN),
    ),
    "usage.usage": Route(
        "operation",
        "What the key has used; an administrator's key sees all",
        "UsageList",
        True,
        (Scope.KEY, Scope.USAGE),
        (
            _query("since", "The first moment: `7d`, `12h`, a date or a time. Default: `7d`."),
            _query(
                "timezone", "The zone of days and of dates, like `Europe/Berlin`. Default: `UTC`."
            ),
            _query("until", "The last moment, likewise. Default: now."),
            _query(
                "by",
                "Dimensions to group the rows by, separated by commas. Default: `model`; "
                "`key,model` with an administrator's key.",
            ),
        ),
    ),
    "api.live": Route("operation", "Whether the process answers", "Status"),
    "api.ready": Route("operation", "Whether each model can be served", "Status"),
    "metrics.metrics": Route(
        "operation", "Numbers for Prometheus", "text/plain", False, (Scope.KEY, Scope.ADMIN)
    ),
    "console.console_api_now": Route(
        "console",
        "Figures of the last hour and the state of deployments, for administrators",
        "Now",
        True,
        (Scope.KEY, Scope.ADMIN, Scope.LIVE),
        (
            _query(
                "since",
                "The first moment of the series, in seconds since 1970. Default: an hour ago.",
            ),
        ),
    ),
    "console.console_api_requests": Route(
        "console",
        "The last requests; a key sees its own, an administrator all",
        "RecentRequestList",
        True,
        (Scope.KEY, Scope.LIVE),
        (_query("show", "`newest` (default), `failed` or `slowest`: which come first."),),
    ),
    "console.console_api_requests_request_id": Route(
        "console",
        "What happened to a request; a key sees its own, an administrator all",
        "RequestSteps",
        True,
        (Scope.KEY,),
    ),
    "console.console_api_settings_check_post": Route(
        "console",
        "The mistakes in the settings file as it is now, for administrators",
        "MistakeList",
        True,
        (Scope.KEY, Scope.ADMIN),
    ),
    "root.index": Route("operation", "Where the API is; sends a browser to the console"),
    "docs.openapi": Route("operation", "This description"),
    "docs.docs": Route("operation", "This page", "text/html"),
    "docs.part": Route("operation", "What the page is made of", "*/*"),
}
