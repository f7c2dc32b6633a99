"""Everything that can go wrong, one class a kind.

Two families share the root `ProxyError`:

* `ClientError` and below are answers: each knows its HTTP status, OpenAI's error ``type`` and
  ``code``, and whether it can help an SDK to try again.
* `ProviderError` and below are what one attempt at one provider met. They never reach a client as
  they are: dispatch retries, fails over, and turns the last one into a `ClientError`.

Messages of either family are safe to show: no secret, no provider address. Those of a
`ClientError` are bounded where it is made, so that an error answer stays below `MAX_ANSWER_BYTES`
whatever came in.

This module holds every `ClientError` there is: /openapi.json, the counters and the answers of the
server itself (`app.server.contract`) are made from the classes here.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any

MAX_MESSAGE_LENGTH = 300  # characters of a message of ours
MAX_NAME_LENGTH = 64  # characters of a name that an answer repeats: a field, a path, a type
MAX_ANSWER_BYTES = 4096  # of an error's JSON body
_MAX_MESSAGE_BYTES = 2048  # of a message's UTF-8
MAX_CHAIN = 20  # errors that led to one


class Scope(Enum):
    """The requests that can meet an error. /openapi.json lists an error with these routes."""

    EVERY = "every request"
    KEY = "requests that need a key"
    EMBEDDINGS = "requests for embeddings"
    VARIABLE = "paths with a variable"
    MODEL = "/v1/models/{id}"
    ADMIN = "what only an administrator's key may see"
    USAGE = "/v1/usage"
    ELSEWHERE = "paths and methods that the proxy does not have"


def shown(name: object, length: int = MAX_NAME_LENGTH) -> str:
    """Return a name of the caller's as an answer may repeat it: encodable, printable and short."""
    text = str(name[: length + 1]) if isinstance(name, str) else str(name)
    if not text.isascii() or not text.isprintable():
        text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= length else text[:length] + "…"


def _bounded_message(text: str, length: int) -> str:
    text = shown(text, length - 1)
    if text.isascii():
        return text
    # Four bytes a character at the most, and JSON escapes none that is printable but \ and ".
    return text.encode()[:_MAX_MESSAGE_BYTES].decode(errors="ignore")


class ProxyError(Exception):
    """The root."""


class ClientError(ProxyError):
    """An answer that is not an embedding."""

    scopes: tuple[Scope, ...] = (Scope.EMBEDDINGS,)
    max_message_length = MAX_MESSAGE_LENGTH
    status = 500
    code: str | None = "internal_error"
    type = "server_error"
    #: None leaves the decision to the SDK; False adds ``x-should-retry: false``.
    should_retry: bool | None = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        should_retry: bool | None = None,
    ) -> None:
        message = _bounded_message(message, self.max_message_length)
        super().__init__(message)
        self.message = message
        self.param = None if param is None else shown(param)
        #: Seconds until a retry may succeed, or None.
        self.retry_after = retry_after
        if should_retry is not None:
            self.should_retry = should_retry
        #: Further headers of the answer.
        self.headers: dict[str, str] = {}
        #: The attempts made upstream before giving up; dispatch fills it in for the log.
        self.attempts = 0
        #: Tokens bought upstream before giving up, by deployment; dispatch fills it in.
        self.purchases: dict[tuple[str, str], int] = {}
        #: What the log says in place of the message, where that may quote an input.
        self.log_message = message

    @property
    def payload(self) -> dict[str, dict[str, str | None]]:
        """OpenAI's error object."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }


def client_errors(kind: type[ClientError] = ClientError) -> Iterator[type[ClientError]]:
    """Yield every class of this module that a client can meet."""
    for below in kind.__subclasses__():
        if globals().get(below.__name__) is below:  # tests define some of their own
            yield below
        yield from client_errors(below)


class InternalError(ClientError):
    """A bug of ours. A retry is safe and may help."""

    scopes = (Scope.EVERY,)


class IncompleteAnswer(InternalError):
    """A bug of ours, seen in time: vectors were missing, empty or of another width."""

    scopes = (Scope.EMBEDDINGS,)
    code = "incomplete_answer"


class BadRequest(ClientError):
    """The caller's payload is wrong. A retry cannot help."""

    scopes: tuple[Scope, ...] = (Scope.EMBEDDINGS, Scope.USAGE)
    status = 400
    code: str | None = None
    type = "invalid_request_error"


class RefusedByProvider(BadRequest):
    """The provider's own 400, in its own words without secrets. A retry cannot help."""

    scopes = (Scope.EMBEDDINGS,)
    max_message_length = 502  # `app.providers.refusals` cuts it


class InvalidHttp(BadRequest):
    """The request is not valid HTTP/1.1, or its framing is ambiguous. A retry cannot help."""

    scopes = (Scope.EVERY,)
    code = "invalid_http"


class RequestTimeout(ClientError):
    """The request did not arrive in time. A retry is safe."""

    scopes = (Scope.EVERY,)
    status = 408
    code = "request_timeout"
    type = "invalid_request_error"


class RequestLineTooLong(ClientError):
    """The request line is longer than the server reads. A retry cannot help."""

    scopes = (Scope.EVERY,)
    status = 414
    code = "request_line_too_long"
    type = "invalid_request_error"


class ExpectationFailed(ClientError):
    """``Expect`` names something else than ``100-continue``. A retry cannot help."""

    scopes = (Scope.EVERY,)
    status = 417
    code = "expectation_failed"
    type = "invalid_request_error"


class HeadersTooLarge(ClientError):
    """More headers, or longer ones, than the server reads. A retry cannot help."""

    scopes = (Scope.EVERY,)
    status = 431
    code = "headers_too_large"
    type = "invalid_request_error"


class UnsupportedTransferCoding(ClientError):
    """``Transfer-Encoding`` is something else than ``chunked``. A retry cannot help."""

    scopes = (Scope.EVERY,)
    status = 501
    code = "unsupported_transfer_coding"
    type = "invalid_request_error"


class Unauthorized(ClientError):
    """No key, or not one of ours. A retry cannot help."""

    scopes = (Scope.KEY,)
    status = 401
    code = "invalid_api_key"
    type = "invalid_request_error"


class ModelNotAllowed(ClientError):
    """The key may not use the model. A retry cannot help."""

    status = 403
    code = "model_not_allowed"
    type = "invalid_request_error"


class AdminOnly(ClientError):
    """The key is not an administrator's. A retry cannot help."""

    scopes = (Scope.ADMIN,)
    status = 403
    code = "admin_required"
    type = "invalid_request_error"


class KeyBlocked(ClientError):
    """The key is named in ``BLOCKED_KEYS``. A retry cannot help."""

    scopes = (Scope.KEY,)
    status = 403
    code = "key_blocked"
    type = "invalid_request_error"


class UserBlocked(ClientError):
    """The end user is named in ``BLOCKED_USERS``. A retry cannot help."""

    status = 403
    code = "user_blocked"
    type = "invalid_request_error"


class NetworkNotAllowed(ClientError):
    """The key is bound to other networks. A retry cannot help."""

    scopes = (Scope.KEY,)
    status = 403
    code = "network_not_allowed"
    type = "invalid_request_error"


class ModelNotFound(ClientError):
    """No such model. A retry cannot help."""

    scopes = (Scope.EMBEDDINGS, Scope.MODEL)
    status = 404
    code = "model_not_found"
    type = "invalid_request_error"


class NotFound(ClientError):
    """No such path. A retry cannot help."""

    scopes = (Scope.ELSEWHERE, Scope.VARIABLE)
    status = 404
    code = "not_found"
    type = "invalid_request_error"


class MethodNotAllowed(ClientError):
    """The path exists, the method does not. A retry cannot help."""

    scopes = (Scope.ELSEWHERE,)
    status = 405
    code = "method_not_allowed"
    type = "invalid_request_error"

    def __init__(self, message: str, *, allow: str = "") -> None:
        super().__init__(message)
        self.allow = allow


class BodyTooLarge(ClientError):
    """Over ``LIMITS["body_bytes"]``. A retry cannot help."""

    status = 413
    code = "request_too_large"
    type = "invalid_request_error"


class UnsupportedMediaType(ClientError):
    """Not JSON by its own word. A retry cannot help."""

    status = 415
    code = "unsupported_media_type"
    type = "invalid_request_error"


class RateLimited(ClientError):
    """The key's limit, or every provider answered 429. A retry helps after ``retry_after``.

    ``type`` says of what there was too much, as OpenAI does: ``requests`` or ``tokens``.
    """

    status = 429
    code = "rate_limit_exceeded"
    #: Every ``type`` there is.
    types = ("requests", "tokens")

    def __init__(self, message: str, *, type: str = "requests", **kwargs: Any) -> None:  # noqa: A002 - OpenAI's
        super().__init__(message, **kwargs)
        self.type = type


class QuotaExhausted(ClientError):
    """The key has used up a day's, a month's or a budget. No retry can help before then.

    The status, type and code are OpenAI's for an account without credit.
    """

    status = 429
    code = "insufficient_quota"
    type = "insufficient_quota"
    should_retry = False


class UpstreamFailed(ClientError):
    """Providers failed and no other could serve. A retry is safe and may help."""

    status = 502
    code = "upstream_error"


class NoProviderAvailable(ClientError):
    """Every deployment of the model is ejected or resting. A retry helps after ``retry_after``."""

    status = 503
    code = "no_provider_available"


class Overloaded(ClientError):
    """Too many are waiting here. A retry helps after ``retry_after``."""

    status = 503
    code = "overloaded"


class KeysUnavailable(ClientError):
    """The database or identity provider that knows the key does not answer. A retry may help."""

    scopes = (Scope.KEY,)
    status = 503
    code = "keys_unavailable"


class LimitsUnavailable(ClientError):
    """The server that counts is away, and ``LIMITS["when_away"]`` is "refuse". A retry may help."""

    status = 503
    code = "usage_unavailable"


class UsageUnavailable(ClientError):
    """The ledger's database does not answer in time, or is busy. A retry is safe and may help."""

    scopes = (Scope.USAGE,)
    status = 503
    code = "usage_unavailable"


class DeadlineExceeded(ClientError):
    """The caller's own ``timeout`` passed: a retry by the SDK is work nobody waits for."""

    status = 504
    code = "timeout"
    type = "timeout"
    should_retry = False


class ProviderError(ProxyError):
    """One attempt failed. ``transient`` says whether the same provider may do better at once."""

    transient = False
    #: A word for logs and metrics.
    cause = "error"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        #: Seconds the provider asked to be left alone, or None.
        self.retry_after = retry_after


class Rejected(ProviderError):
    """The provider's own 400: the caller's fault. Never retried."""

    cause = "rejected"

    def __init__(self, message: str, *, param: str | None = None, too_large: bool = False) -> None:
        super().__init__(message)
        self.param = param
        #: The provider refused the size of the call: fewer or shorter items may be accepted.
        self.too_large = too_large


class NotServed(ProviderError):
    """404, 405, 410: no such model or path there. Only another provider can help."""

    cause = "not_found"


class Throttled(ProviderError):
    """429: retry elsewhere now, here after ``retry_after``."""

    cause = "throttled"


class CredentialsRefused(ProviderError):
    """401, 402, 403: our key is wrong or unpaid. Only another provider can help."""

    cause = "credentials"


class ProviderUnavailable(ProviderError):
    """408, 409, 5xx: a retry is safe and may help."""

    transient = True
    cause = "unavailable"


class ConnectionFailed(ProviderError):
    """Refused, reset, unresolved, TLS: a retry is safe and may help."""

    transient = True
    cause = "connection"


class BrokenContract(ProviderError):
    """An answer that is not N good vectors for N inputs. A retry may help; another is better."""

    transient = True
    cause = "contract"


class ProviderTimeout(ProviderError):
    """The attempt's own time passed. A retry may help elsewhere."""

    cause = "timeout"


def drop_tracebacks(error: BaseException | None) -> None:
    """Let go of the frames that an error has passed, and those that led to it.

    They hold all that was local there, bodies among it; and where they hold the error too, only the
    garbage collector would find the circle.
    """
    for _ in range(MAX_CHAIN):
        if error is None:
            return
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
