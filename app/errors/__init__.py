"""All errors of the proxy, one class for each kind.

There are two families below the root `ProxyError` (`app.errors.base`):

* `ClientError` and its subclasses become responses: each has an HTTP status, OpenAI's error
  ``type`` and ``code``, and says whether a retry can help. Those of a caller's access are in
  `app.errors.access`, the others in this file.
* `ProviderError` and its subclasses (`app.errors.provider`) are failures of one attempt at one
  provider. They never reach a client: dispatch retries, fails over, and turns the last one into a
  `ClientError`.

Messages of both families are safe to show: they hold no secret and no provider address. Messages of
a `ClientError` are shortened in its constructor, so that the response stays below
`MAX_ANSWER_BYTES`, whatever the request was.

Every `ClientError` has its name in this file: /openapi.json, the counters and the responses of the
server itself (`app.server.base_worker`) are made from the classes that have one here.

* `base`: the root of all errors, and that of those that a client gets.
* `access`: errors of a caller's access: its key, what the key may do, and its limits.
* `provider`: failures of one attempt at one provider.
"""

from __future__ import annotations

from collections.abc import Iterator

from app.errors.access import AdminOnly as AdminOnly
from app.errors.access import CsrfTokenWrong as CsrfTokenWrong
from app.errors.access import KeyBlocked as KeyBlocked
from app.errors.access import KeysUnavailable as KeysUnavailable
from app.errors.access import LimitsUnavailable as LimitsUnavailable
from app.errors.access import ModelNotAllowed as ModelNotAllowed
from app.errors.access import NetworkNotAllowed as NetworkNotAllowed
from app.errors.access import QuotaExhausted as QuotaExhausted
from app.errors.access import RateLimited as RateLimited
from app.errors.access import ServiceTierNotAllowed as ServiceTierNotAllowed
from app.errors.access import Unauthorized as Unauthorized
from app.errors.access import UserBlocked as UserBlocked
from app.errors.base import MAX_ANSWER_BYTES as MAX_ANSWER_BYTES
from app.errors.base import MAX_CHAIN as MAX_CHAIN
from app.errors.base import MAX_MESSAGE_LENGTH as MAX_MESSAGE_LENGTH
from app.errors.base import MAX_NAME_LENGTH as MAX_NAME_LENGTH
from app.errors.base import ClientError as ClientError
from app.errors.base import ProxyError as ProxyError
from app.errors.base import Scope as Scope
from app.errors.base import drop_tracebacks as drop_tracebacks
from app.errors.base import shown as shown
from app.errors.provider import BrokenContract as BrokenContract
from app.errors.provider import ConnectionFailed as ConnectionFailed
from app.errors.provider import CredentialsRefused as CredentialsRefused
from app.errors.provider import Drifted as Drifted
from app.errors.provider import NotServed as NotServed
from app.errors.provider import ProviderError as ProviderError
from app.errors.provider import ProviderTimeout as ProviderTimeout
from app.errors.provider import ProviderUnavailable as ProviderUnavailable
from app.errors.provider import Rejected as Rejected
from app.errors.provider import Throttled as Throttled


def client_errors(kind: type[ClientError] = ClientError) -> Iterator[type[ClientError]]:
    """Yield every subclass of `ClientError` that has its name in this module."""
    for subclass in kind.__subclasses__():
        if globals().get(subclass.__name__) is subclass:  # tests define others
            yield subclass
        yield from client_errors(subclass)


class InternalError(ClientError, scopes=(Scope.EVERY,)):
    """A bug of the proxy. A retry is safe and may help."""


class IncompleteAnswer(InternalError, code="incomplete_answer", scopes=(Scope.EMBEDDINGS,)):
    """A bug of the proxy: vectors are missing, empty or of another width. A retry is safe."""


class BadRequest(
    ClientError, status=400, code=None, scopes=(Scope.EMBEDDINGS, Scope.USAGE, Scope.LIVE)
):
    """The caller's payload is wrong. A retry cannot help."""


class RefusedByProvider(BadRequest, scopes=(Scope.EMBEDDINGS,)):
    """A provider's 400, with its message without secrets. A retry cannot help."""

    max_message_length = 502  # `app.providers.refusals` shortens it


class InvalidHttp(BadRequest, code="invalid_http", scopes=(Scope.EVERY,)):
    """The request is not valid HTTP/1.1, or its framing is ambiguous. A retry cannot help."""


class RequestTimeout(ClientError, status=408, code="request_timeout", scopes=(Scope.EVERY,)):
    """The request did not arrive in time. A retry is safe."""


class RequestLineTooLong(
    ClientError, status=414, code="request_line_too_long", scopes=(Scope.EVERY,)
):
    """The request line is longer than the server reads. A retry cannot help."""


class ExpectationFailed(ClientError, status=417, code="expectation_failed", scopes=(Scope.EVERY,)):
    """``Expect`` names something else than ``100-continue``. A retry cannot help."""


class HeadersTooLarge(ClientError, status=431, code="headers_too_large", scopes=(Scope.EVERY,)):
    """More headers, or longer ones, than the server reads. A retry cannot help."""


class UnsupportedTransferCoding(
    ClientError,
    status=501,
    code="unsupported_transfer_coding",
    type="invalid_request_error",
    scopes=(Scope.EVERY,),
):
    """``Transfer-Encoding`` is something else than ``chunked``. A retry cannot help."""


class ModelNotFound(
    ClientError, status=404, code="model_not_found", scopes=(Scope.EMBEDDINGS, Scope.MODEL)
):
    """No such model. A retry cannot help."""


class NotFound(ClientError, status=404, code="not_found", scopes=(Scope.ELSEWHERE, Scope.VARIABLE)):
    """No such path. A retry cannot help."""


class MethodNotAllowed(
    ClientError, status=405, code="method_not_allowed", scopes=(Scope.ELSEWHERE,)
):
    """The path exists, the method does not. A retry cannot help."""

    def __init__(self, message: str, *, allow: str = "") -> None:
        super().__init__(message)
        self.allow = allow


class SpaceChanged(ClientError, status=412, code="space_changed", should_retry=False):
    """The model serves another vector space than ``x-proxy-space`` asks for. A retry cannot help.

    Vectors of the two must not be mixed: see docs/operations.md, "Move to another model".
    """


class BodyTooLarge(ClientError, status=413, code="request_too_large"):
    """The body is larger than ``LIMITS["body_bytes"]``. A retry cannot help."""


class UnsupportedMediaType(ClientError, status=415, code="unsupported_media_type"):
    """The Content-Type is not JSON, or the body is compressed. A retry cannot help."""


class UpstreamFailed(ClientError, status=502, code="upstream_error"):
    """All attempts at providers failed. A retry is safe and may help."""


class NoProviderAvailable(ClientError, status=503, code="no_provider_available"):
    """All deployments of the model are ejected or throttled. A retry helps later."""


class Overloaded(ClientError, status=503, code="overloaded"):
    """The queue of the proxy is full. A retry helps after ``retry_after``."""


class SpaceDrifted(ClientError, status=503, code="space_drifted", should_retry=False):
    """The vectors of every deployment have drifted from the reference vectors of their space.

    A retry helps only after an operator has acted, which takes longer than the retries of an SDK.
    """


class UsageUnavailable(ClientError, status=503, code="usage_unavailable", scopes=(Scope.USAGE,)):
    """The ledger's database does not answer in time, or is busy. A retry is safe and may help."""


class DeadlineExceeded(ClientError, status=504, code="timeout", type="timeout", should_retry=False):
    """The caller's ``timeout`` has passed. An SDK must not retry: its caller no longer waits.

    It is not `RequestTimeout` (408: the request took too long to arrive), nor `ProviderTimeout`
    (one attempt took too long, after which the proxy tries again or answers 502).
    """

    @classmethod
    def after(cls, timeout: float) -> DeadlineExceeded:
        """Return the error of a request with this ``timeout`` in seconds."""
        return cls(f"Request timed out after {timeout} s.")


class ClientClosedRequest(
    ClientError,
    status=499,
    code="client_closed_request",
    type="invalid_request_error",
    should_retry=False,
    scopes=(Scope.UNREAD,),
):
    """The client has closed the connection before its answer; the status is nginx's own.

    The log, the metrics and the ledger have it. A client that has closed only its sending side may
    read it.
    """

    @classmethod
    def before_answer(cls) -> ClientClosedRequest:
        """Return the error of a request whose client has closed its side of the connection."""
        return cls("The client closed the connection before the answer.")
