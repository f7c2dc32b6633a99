"""Failures of one attempt at one provider.

None reaches a client: see `app.dispatch.job.caller_errors`.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.errors.base import ProxyError


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
    """The provider answered 400, 413 or 422, or cannot embed an input: the request is wrong.

    Another provider is asked only where that may be this one's fault: see
    `app.dispatch.health.refusals`.
    """

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
    """The provider is at its rate limit: it answered 429, or said so with another status.

    Another provider can help now, this one after ``retry_after``.
    """

    cause = "throttled"


class CredentialsRefused(ProviderError):
    """The provider refuses the proxy's key or account. Only another provider can help.

    It answered 401, 402 or 403, or said so with another status.
    """

    cause = "credentials"


class ProviderUnavailable(ProviderError):
    """The provider answered 408, 409, 424, 499 or 5xx. A retry is safe and may help."""

    transient = True
    cause = "unavailable"


class ConnectionFailed(ProviderError):
    """No connection: refused, reset, name not resolved, TLS. A retry is safe and may help."""

    transient = True
    cause = "connection"


class BrokenContract(ProviderError):
    """The answer is not N valid vectors for N inputs, or not HTTP, or has an unexpected status.

    A retry may help, better elsewhere.
    """

    transient = True
    cause = "contract"


class Drifted(ProviderError):
    """The deployment has drifted from the reference of its space. Only another one can help.

    The call has answered vectors, but the deployment was ejected for drift meanwhile. ``tokens``
    are those of each vector: they are billed although the vectors are dropped.
    """

    cause = "drifted"

    def __init__(self, message: str, tokens: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.tokens = tokens


class ProviderTimeout(ProviderError):
    """The time of the attempt has passed. A retry at another provider may help."""

    cause = "timeout"
