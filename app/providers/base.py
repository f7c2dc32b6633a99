"""What a provider is to the rest of the proxy, and what a wire format has to say.

A module of this package offers ``OPTIONS`` (the settings that only its kind knows, as marshmallow
fields) and ``make(settings)``, which returns a `WireFormat`, or a `Provider` that needs no HTTP.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeVar

import msgspec
import pybase64

from app import vectors
from app.concurrency.deadline import Deadline
from app.domain import Call, Vectors
from app.errors import (
    BrokenContract,
    CredentialsRefused,
    NotServed,
    ProviderError,
    ProviderUnavailable,
    Rejected,
    Throttled,
)
from app.providers.counts import MAX_TOKENS_OF_A_CALL
from app.providers.rate_limits import seconds_to_reset
from app.providers.refusals import UNREADABLE, clean, message_of, rejected, retry_after
from app.tokens.counting import estimate, share, weigh

_T = TypeVar("_T")
_floats: msgspec.json.Decoder[Sequence[float]] = msgspec.json.Decoder(list[float])
_base64 = msgspec.json.Decoder(bytes)
_encode = msgspec.json.Encoder().encode


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


class LongText(StrEnum):
    """What becomes of a text that is longer than the context of the model."""

    ERROR_THERE = "error there"
    TOLD_NOT_TO_CUT = "told not to cut"  # an error there; its default is to cut
    TOLD_TO_CUT = "told to cut"  # by the operator's settings
    EMBEDDED_WHOLE = "embedded whole"
    CUT_SILENTLY = "cut silently"
    NOT_KNOWN = "not known"  # neither its documentation nor its source code says it

    @property
    def may_be_cut(self) -> bool:
        """Whether the provider may embed a part of the text, though no setting tells it to."""
        return self in (LongText.CUT_SILENTLY, LongText.NOT_KNOWN)

    @classmethod
    def told(cls, cuts: bool) -> LongText:
        """Return that of a provider which is told in each call whether to cut."""
        return cls.TOLD_TO_CUT if cuts else cls.TOLD_NOT_TO_CUT


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider takes, where the settings do not say otherwise."""

    max_inputs: int | None = None  # of one call
    max_tokens: int | None = None  # of one call, all inputs together
    dimensions: bool = True  # takes the number of dimensions wanted
    tokens: bool = True  # takes token ids
    user: bool = False  # is told the end user
    long_text: LongText = LongText.NOT_KNOWN


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
        """Any other answer → the error it stands for, its message without ``secrets``.

        They come longest first, so that no part of one stays behind.
        """
        message = clean(message_of(answer.body), secrets)
        after = retry_after(answer.headers)
        match answer.status:
            case 400 | 413 | 422:
                return rejected(message, answer.status)
            case 401 | 402 | 403:
                return CredentialsRefused(f"refused our credentials ({answer.status})")
            case 404 | 405 | 410:
                return NotServed(f"does not know the model or the path ({answer.status})")
            case 429:
                if after is None:
                    after = seconds_to_reset(answer.headers)
                return Throttled("asked us to slow down (429)", retry_after=after)
            case 408 | 409 | 424 | 499:  # 424: a backend behind the provider failed
                return ProviderUnavailable(f"failed with {answer.status}", retry_after=after)
            case status if status >= 500:
                return ProviderUnavailable(f"failed with {status}", retry_after=after)
            case status:
                return BrokenContract(f"answered with status {status}")


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
    if each is not None and len(each) == len(rows) and sum(each) <= MAX_TOKENS_OF_A_CALL:
        return Vectors(rows, each)
    if total is None:
        return Vectors(rows, [estimate(item) for item in call.items], estimated=True)
    return Vectors(rows, share(total, [weigh(item) for item in call.items]))


def encode(body: Mapping[str, Any]) -> bytes:
    """The body of a request as JSON; `Rejected` where a text or passed-on field cannot be it."""
    try:
        return _encode(body)
    except (ValueError, TypeError, RecursionError) as error:  # a lone surrogate, 4,300 digits …
        raise Rejected("The request is invalid: it cannot be written as JSON.") from error


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
