"""The root of all errors, and that of the errors that a client gets as a response."""

from __future__ import annotations

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
    LIVE = "/console/api/now and /console/api/requests"
    CONSOLE = "changes in the console"
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
    #: OpenAI's: below 500 "invalid_request_error", unless a class says otherwise.
    type = "server_error"
    #: None leaves the decision to the SDK; False adds ``x-should-retry: false``.
    should_retry: bool | None = None

    def __init_subclass__(cls, **attributes: Any) -> None:
        """Set the class attributes that a ``class`` statement names as arguments."""
        super().__init_subclass__()
        if "status" in attributes:
            below_500 = attributes["status"] < 500
            cls.type = "invalid_request_error" if below_500 else "server_error"
        for name, value in attributes.items():
            getattr(cls, name)  # raises for one that does not exist
            setattr(cls, name, value)

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
