"""The interfaces of a `Provider`, which turns items into vectors, and of a `WireFormat`.

A module of `app.providers.kinds` offers ``OPTIONS`` (the settings that only its kind knows:
`app.providers.options.Option`) and ``make(settings)``, which returns a `WireFormat`, or a
`Provider` that needs no HTTP. `WireFormat.refuse` has the error for each HTTP status; a kind
overrides it where a status means something else there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from app.concurrency.deadline import Deadline
from app.domain import Call, Vectors
from app.errors import (
    BrokenContract,
    CredentialsRefused,
    NotServed,
    ProviderError,
    ProviderUnavailable,
    Throttled,
)
from app.providers.rate_limits import seconds_to_reset
from app.providers.refusals import clean, message_of, rejected, retry_after


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An HTTP request to a provider: ``POST {base_url}{path}``."""

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A provider's whole HTTP answer. Names of headers are in lower case.

    The body of an error is bytes.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes | memoryview


class LongText(StrEnum):
    """What a provider does with a text that is longer than the context of the model."""

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
    def chosen(cls, cuts: bool) -> LongText:
        """Return the value for a provider whose calls say whether to cut a text."""
        return cls.TOLD_TO_CUT if cuts else cls.TOLD_NOT_TO_CUT


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The limits of a provider and what it accepts, unless the settings say otherwise."""

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
        """Return the capabilities for a model, by the provider's name for it.

        They are ``capabilities`` unless the model has others. Raises `SettingsError` for a model
        that the provider cannot serve.
        """

    def load(self) -> None:
        """Load what `embed` needs, such as a model; called once, before the first `embed`."""

    def embed(self, call: Call, deadline: Deadline) -> Vectors:
        """Return N vectors for N items, checked and in order, by ``deadline``.

        Raises a `ProviderError`, nothing else.
        """


class WireFormat(ABC):
    """The requests and answers of one API: builds the ones and reads the others, without I/O.

    `app.providers.http.transport` makes a `Provider` of it, by sending the requests.
    """

    capabilities: Capabilities
    #: The base address where the settings give none.
    base_url: str | None = None

    def limits(self, model: str) -> Capabilities:
        """Return the capabilities for a model: see `Provider.limits`."""
        return self.capabilities

    @abstractmethod
    def build(self, call: Call) -> Outgoing:
        """Return the request of a call, with no field that the provider does not know."""

    @abstractmethod
    def parse(self, answer: Incoming, call: Call) -> Vectors:
        """Return the vectors of a 2xx answer, in the order of items. Raises `BrokenContract`."""

    def refuse(self, answer: Incoming, secrets: Sequence[str]) -> ProviderError:
        """Return the error that any other answer stands for, its message without ``secrets``.

        The secrets are sorted, the longest first: one may be a part of another.
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
