"""All errors of the proxy, one class for each kind.

There are two families below the root `ProxyError`:

* `ClientError` and its subclasses become responses: each has an HTTP status, OpenAI's error
  ``type`` and ``code``, and says whether a retry can help.
* `ProviderError` and its subclasses are failures of one attempt at one provider. They never reach a
  client: dispatch retries, fails over, and turns the last one into a `ClientError`.

Messages of both families are safe to show: they hold no secret and no provider address. Messages of
a `ClientError` are shortened in its constructor, so that the response stays below
`MAX_ANSWER_BYTES`, whatever the request was.

Every `ClientError` is defined in this module: /openapi.json, the counters and the responses of the
server itself (`app.server.contract`) are made from the classes here.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any

MAX_MESSAGE_LENGTH = 300  # characters of a message of the proxy itself
MAX_NAME_LENGTH = 64  # characters of a name that a message repeats: a field, a path, a type
MAX_ANSWER_BYTES = 4096  # of an error's JSON body
_MAX_MESSAGE_BYTES = 2048  # of a message in UTF-8
MAX_CHAIN = 20  # errors linked by __cause__ or __context__ whose tracebacks are dropped


class Scope(Enum):
    """The requests that can fail with an error; /openapi.json lists the error with these routes."""

    EVERY = "every request"
    KEY = "requests that need a key"
    EMBEDDINGS = "requests for embeddings"
    VARIABLE = "paths with a variable"
    MODEL = "/v1/models/{id}"
    ADMIN = "what only an administrator's key may see"
    USAGE = "/v1/usage"
    ELSEWHERE = "paths and methods that the proxy does not have"
    UNREAD = "requests whose client has closed the connection; /openapi.json has no such error"


def shown(name: object, length: int = MAX_NAME_LENGTH) -> str:
    """Return a text of the caller's as a message may repeat it: encodable, printable and short."""
    text = str(name[: length + 1]) if isinstance(name, str) else str(name)
    if not text.isascii() or not text.isprintable():
        text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= length else text[:length] + "…"


def _bounded_message(text: str, length: int) -> str:
    text = shown(text, length - 1)
    if text.isascii():
        return text
    # A character has at most four bytes in UTF-8; of printable ones JSON only escapes \ and ".
    return text.encode()[:_MAX_MESSAGE_BYTES].decode(errors="ignore")


class ProxyError(Exception):
    """The root of all errors of the proxy."""


class ClientError(ProxyError):
    """An error that the client gets as a response."""

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
        #: Further headers of the response.
        self.headers: dict[str, str] = {}
        #: Attempts at providers before the failure, for the log; set by dispatch.
        self.attempts = 0
        #: Tokens bought before the failure, by deployment; set by dispatch.
        self.purchases: dict[tuple[str, str], int] = {}
        #: Logged instead of the message, where the message may quote an input.
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
    """Yield every subclass of `ClientError` in this module."""
    for subclass in kind.__subclasses__():
        if globals().get(subclass.__name__) is subclass:  # tests define others
            yield subclass
        yield from client_errors(subclass)


class InternalError(ClientError):
    """A bug of the proxy. A retry is safe and may help."""

    scopes = (Scope.EVERY,)


class IncompleteAnswer(InternalError):
    """A bug of the proxy: vectors are missing, empty or of another width. A retry is safe."""

    scopes = (Scope.EMBEDDINGS,)
    code = "incomplete_answer"


class BadRequest(ClientError):
    """The caller's payload is wrong. A retry cannot help."""

    scopes: tuple[Scope, ...] = (Scope.EMBEDDINGS, Scope.USAGE)
    status = 400
    code: str | None = None
    type = "invalid_request_error"


class RefusedByProvider(BadRequest):
    """A provider's 400, with its message without secrets. A retry cannot help."""

    scopes = (Scope.EMBEDDINGS,)
    max_message_length = 502  # `app.providers.refusals` shortens it


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
    """The key is missing or unknown. A retry cannot help."""

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


class SpaceChanged(ClientError):
    """The model serves another vector space than ``x-proxy-space`` asks for. A retry cannot help.

    Vectors of the two must not be mixed: see docs/operations.md, "Move to another model".
    """

    status = 412
    code = "space_changed"
    type = "invalid_request_error"
    should_retry = False


class BodyTooLarge(ClientError):
    """The body is larger than ``LIMITS["body_bytes"]``. A retry cannot help."""

    status = 413
    code = "request_too_large"
    type = "invalid_request_error"


class UnsupportedMediaType(ClientError):
    """The Content-Type is not JSON, or the body is compressed. A retry cannot help."""

    status = 415
    code = "unsupported_media_type"
    type = "invalid_request_error"


class RateLimited(ClientError):
    """A limit of the key is reached, or every provider answered 429.

    A retry helps after ``retry_after``. ``type`` is ``requests`` or ``tokens``, as OpenAI's: what
    the limit counts.
    """

    status = 429
    code = "rate_limit_exceeded"
    #: All values of ``type``.
    types = ("requests", "tokens")

    def __init__(self, message: str, *, type: str = "requests", **kwargs: Any) -> None:  # noqa: A002 - OpenAI's
        super().__init__(message, **kwargs)
        self.type = type


class QuotaExhausted(ClientError):
    """A quota of a day or a month, or a budget, is used up. A retry cannot help before it resets.

    The status, type and code are OpenAI's for an account without credit.
    """

    status = 429
    code = "insufficient_quota"
    type = "insufficient_quota"
    should_retry = False


class UpstreamFailed(ClientError):
    """All attempts at providers failed. A retry is safe and may help."""

    status = 502
    code = "upstream_error"


class NoProviderAvailable(ClientError):
    """All deployments of the model are ejected or throttled. A retry helps later."""

    status = 503
    code = "no_provider_available"


class Overloaded(ClientError):
    """The queue of the proxy is full. A retry helps after ``retry_after``."""

    status = 503
    code = "overloaded"


class SpaceDrifted(ClientError):
    """The vectors of every deployment have drifted from the reference vectors of their space.

    A retry helps only after an operator has acted, which takes longer than the retries of an SDK.
    """

    status = 503
    code = "space_drifted"
    should_retry = False


class KeysUnavailable(ClientError):
    """The database or identity provider that knows the key does not answer. A retry may help."""

    scopes = (Scope.KEY,)
    status = 503
    code = "keys_unavailable"


class LimitsUnavailable(ClientError):
    """The server that counts usage does not answer, and ``LIMITS["when_away"]`` is "refuse".

    A retry may help.
    """

    status = 503
    code = "usage_unavailable"


class UsageUnavailable(ClientError):
    """The ledger's database does not answer in time, or is busy. A retry is safe and may help."""

    scopes = (Scope.USAGE,)
    status = 503
    code = "usage_unavailable"


class DeadlineExceeded(ClientError):
    """The caller's ``timeout`` has passed. An SDK must not retry: its caller no longer waits.

    It is not `RequestTimeout` (408: the request took too long to arrive), nor `ProviderTimeout`
    (one attempt took too long, after which the proxy tries again or answers 502).
    """

    status = 504
    code = "timeout"
    type = "timeout"
    should_retry = False

    @classmethod
    def after(cls, timeout: float) -> DeadlineExceeded:
        """Return the error of a request with this ``timeout`` in seconds."""
        return cls(f"Request timed out after {timeout} s.")


class ClientClosedRequest(ClientError):
    """The client has closed the connection before its answer; the status is nginx's own.

    The log, the metrics and the ledger have it. A client that has closed only its sending side may
    read it.
    """

    scopes = (Scope.UNREAD,)
    status = 499
    code = "client_closed_request"
    type = "invalid_request_error"
    should_retry = False

    @classmethod
    def before_answer(cls) -> ClientClosedRequest:
        """Return the error of a request whose client has closed its side of the connection."""
        return cls("The client closed the connection before the answer.")


class ProviderError(ProxyError):
    """A failed attempt. ``transient``: another attempt at the same provider may succeed at once."""

    transient = False
    #: The name of the failure in logs and metrics.
    cause = "error"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        #: Seconds until the provider accepts requests again (Retry-After), or None.
        self.retry_after = retry_after


class Rejected(ProviderError):
    """The provider answered 400: the request is wrong. Never retried."""

    cause = "rejected"

    def __init__(self, message: str, *, param: str | None = None, too_large: bool = False) -> None:
        super().__init__(message)
        self.param = param
        #: The call was too large for the provider: fewer or shorter items may be accepted.
        self.too_large = too_large


class NotServed(ProviderError):
    """The provider answered 404, 405 or 410. Only another provider can help."""

    cause = "not_found"


class Throttled(ProviderError):
    """The provider answered 429. Another provider can help now, this one after ``retry_after``."""

    cause = "throttled"


class CredentialsRefused(ProviderError):
    """The provider refuses the proxy's key (401, 402, 403). Only another provider can help."""

    cause = "credentials"


class ProviderUnavailable(ProviderError):
    """The provider answered 408, 409 or 5xx. A retry is safe and may help."""

    transient = True
    cause = "unavailable"


class ConnectionFailed(ProviderError):
    """No connection: refused, reset, name not resolved, TLS. A retry is safe and may help."""

    transient = True
    cause = "connection"


class BrokenContract(ProviderError):
    """The answer is not N valid vectors for N inputs. A retry may help, better elsewhere."""

    transient = True
    cause = "contract"


class Drifted(ProviderError):
    """Its vectors have drifted from the reference of their space. Only another provider can help.

    The call has answered vectors, but the deployment was ejected for drift meanwhile.
    """

    cause = "drifted"


class ProviderTimeout(ProviderError):
    """The time of the attempt has passed. A retry at another provider may help."""

    cause = "timeout"


def drop_tracebacks(error: BaseException | None) -> None:
    """Drop the tracebacks of an error and of its causes.

    Their frames keep local variables alive, request bodies among them. If a frame also refers to
    the error, that is a reference cycle, which only the garbage collector frees.
    """
    for _ in range(MAX_CHAIN):
        if error is None:
            return
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
