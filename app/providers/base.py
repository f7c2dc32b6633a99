"""What a provider is to the rest of the proxy, and what a wire format has to say.

A module of this package offers ``OPTIONS`` (the settings that only its kind knows, as marshmallow
fields) and ``make(settings)``, which returns a `WireFormat`, or a `Provider` that needs no HTTP.
"""

from __future__ import annotations

import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar

import msgspec
import pybase64

from app import vectors
from app.deadline import Deadline
from app.domain import Call, Vectors
from app.errors import (
    BrokenContract,
    CredentialsRefused,
    ProviderError,
    ProviderUnavailable,
    Rejected,
    Throttled,
)
from app.usage.share import estimate, share, weigh

#: Longest part of a provider's own message that is passed on, in characters.
_MESSAGE_LENGTH = 500
_SECRETS = re.compile(
    r"(?i)\b(?:sk|pk|rk|pa|jina|nvapi|hf|gsk|AIza)[-_][\w*.-]{6,}|\bbearer\s+\S+|\bAIza[\w-]{20,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\b(?:X-Amz-)?(?:Credential|Signature)=[^\s,;&]+"  # AWS's
    r"|\beyJ[\w-]+\.[\w.-]+"  # a JSON web token, as Entra ID and Google hand out
    r"|https?://\S+"
)
#: What reading JSON that somebody else wrote may raise.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_T = TypeVar("_T")
_floats: msgspec.json.Decoder[Sequence[float]] = msgspec.json.Decoder(list[float])
_base64 = msgspec.json.Decoder(bytes)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An HTTP request to a provider: ``POST {base_url}{path}``."""

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A provider's whole HTTP answer. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider takes, where the settings do not say otherwise."""

    max_inputs: int | None = None  # of one call
    max_tokens: int | None = None  # of one call, all inputs together
    dimensions: bool = True  # takes the number of dimensions wanted
    tokens: bool = True  # takes token ids
    user: bool = False  # is told the end user


class Provider(Protocol):
    """Something that turns items into vectors."""

    capabilities: Capabilities

    def limits(self, model: str) -> Capabilities:
        """What it takes for one of its models, by its own name: ``capabilities`` unless it differs.

        Raises `SettingsError` for a model that it cannot serve.
        """

    def load(self) -> None:
        """Get ready: called once, before the first `embed`."""

    def embed(self, call: Call, deadline: Deadline) -> Vectors:
        """N vectors for N items, in order, checked; by ``deadline``.

        Raises a `ProviderError`, nothing else.
        """


class WireFormat(ABC):
    """How one API says ``embed``: pure functions around an HTTP call made elsewhere."""

    capabilities: Capabilities
    #: The base address where the settings give none.
    base_url: str | None = None

    def limits(self, model: str) -> Capabilities:
        """As `Provider.limits`."""
        return self.capabilities

    @abstractmethod
    def build(self, call: Call) -> Outgoing:
        """The request for a call, with nothing in it that the provider does not know."""

    @abstractmethod
    def parse(self, answer: Incoming, call: Call) -> Vectors:
        """A 2xx answer → `Vectors` in the order of the items; `BrokenContract` if it is none."""

    def refuse(self, answer: Incoming, secrets: Sequence[str]) -> ProviderError:
        """Any other answer → the error it stands for, its message without ``secrets``."""
        message = clean(message_of(answer.body), secrets)
        after = retry_after(answer.headers)
        match answer.status:
            case 400 | 413 | 422:
                return Rejected(message or "The provider refused the request as invalid.")
            case 401 | 402 | 403:
                return CredentialsRefused(f"refused our credentials ({answer.status})")
            case 429:
                return Throttled("asked us to slow down (429)", retry_after=after)
            case 408 | 409 | 424 | 499:  # 424: a backend behind the provider failed
                return ProviderUnavailable(f"failed with {answer.status}", retry_after=after)
            case status if status >= 500:
                return ProviderUnavailable(f"failed with {status}", retry_after=after)
            case status:
                return BrokenContract(f"answered with status {status}")


def blamed(error: ProviderError, message: str, words: Sequence[str]) -> ProviderError:
    """The same error, or `Rejected` where a failure's (cleaned) message has words that blame an
    input: it would fail everywhere and for ever, so a retry only costs."""
    if isinstance(error, ProviderUnavailable) and any(word in message for word in words):
        return Rejected(message)
    return error


def guard(
    rows: Sequence[bytes], call: Call, total: int | None, each: Sequence[int] | None = None
) -> Vectors:
    """The contract guard: N good vectors of the right width for N items, or `BrokenContract`.

    ``total`` is the provider's token count, shared out over the items unless it gave ``each``;
    None: it gave none.
    """
    if len(rows) != len(call.items):
        raise BrokenContract(f"answered {len(rows)} vectors for {len(call.items)} inputs")
    try:
        vectors.check(rows, call.width)
    except vectors.BadVector as error:
        raise BrokenContract(f"answered {error}") from error
    if each is not None and len(each) == len(rows):
        return Vectors(rows, each)
    if total is None:
        return Vectors(rows, [estimate(item) for item in call.items], estimated=True)
    return Vectors(rows, share(total, [weigh(item) for item in call.items]))


def only_text(call: Call) -> None:
    """Refuse token ids: another tokenizer's ids would be embedded as if they were nonsense."""
    if not isinstance(call.items[0], str):
        raise Rejected(
            "'$.input' is invalid. This model takes only text: send the text itself instead of "
            "token ids.",
            param="input",
        )


def read(decoder: msgspec.json.Decoder[_T], body: bytes | msgspec.Raw, what: str) -> _T:
    """JSON of a provider by its decoder; `BrokenContract`, that it is not ``what``, otherwise."""
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        raise BrokenContract(f"answered something that is not {what}") from error


def is_base64(raw: msgspec.Raw) -> bool:
    """Whether an embedding is written as a string."""
    return bytes(memoryview(raw)[:1]) == b'"'


def row_of(raw: msgspec.Raw) -> bytes:
    """One embedding as it stands in an answer, floats or base64 of float32s → its row.

    One at a time: the Python floats of all rows at once take ten times the memory of the answer.
    """
    if is_base64(raw):
        try:
            return pybase64.b64decode(
                memoryview(raw)[1:-1], validate=True
            )  # at six times msgspec's speed
        except ValueError:  # broken, or "/" is written "\/" as JSON may
            return read(_base64, raw, "an embedding in base64")
    try:
        return vectors.from_floats(read(_floats, raw, "an embedding of numbers"))
    except vectors.BadVector as error:
        raise BrokenContract(f"answered {error}") from error


def in_order(rows: Sequence[tuple[int, Any]], count: int) -> list[Any]:
    """(index, row) pairs in any order → the rows in order; `BrokenContract` unless 0…count-1."""
    if len(rows) != count:
        raise BrokenContract(f"answered {len(rows)} vectors for {count} inputs")
    ordered: list[Any] = [None] * count
    for index, row in rows:
        if not 0 <= index < count or ordered[index] is not None:
            raise BrokenContract(f"answered index {index} twice or out of range")
        ordered[index] = row
    return ordered


def message_of(body: bytes) -> str:
    """The human sentence in an error body of any of the usual shapes, or an empty string."""
    try:
        found = msgspec.json.decode(body)
    except UNREADABLE:
        return ""
    place = ""
    for name in ("error", "message", "detail", "error_msg", "msg"):
        while isinstance(found, list) and found:
            found = found[0]
        if isinstance(found, dict) and name in found:
            if isinstance(found.get("loc"), list):  # pydantic's: without it nobody knows which
                place = ".".join(map(str, found["loc"])) + ": "
            found = found[name]
    return place + found if isinstance(found, str) else ""


def clean(message: str, secrets: Sequence[str]) -> str:
    """A provider's message that a client may read: no key, no address, one line, not too long."""
    for secret in secrets:  # addresses have no case
        message = re.sub(re.escape(secret), "[redacted]", message, flags=re.IGNORECASE)
    message = " ".join(_SECRETS.sub("[redacted]", message).split())
    return message if len(message) <= _MESSAGE_LENGTH else message[:_MESSAGE_LENGTH] + "…"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds a provider asks to be left alone: ``retry-after-ms``, or ``Retry-After``.

    The latter in seconds or as a date (RFC 9110, 10.2.3), which is read by the provider's own
    clock where it shows it. None where it does not say, or says it in a way nobody can read.
    """
    try:
        if "retry-after-ms" in headers:
            return _wait(float(headers["retry-after-ms"]) / 1000)
        if "retry-after" in headers:
            text = headers["retry-after"]
            return _wait(_until(text, headers.get("date")) if "," in text else float(text))
    except ValueError:
        pass
    return None


def _wait(seconds: float) -> float | None:
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _until(date: str, now: str | None) -> float:
    start = parsedate_to_datetime(now).timestamp() if now else time.time()
    return parsedate_to_datetime(date).timestamp() - start
