"""The values that travel through the proxy: frozen, and they know nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

#: One thing to embed: a text, or the ids of its tokens in the model's own vocabulary.
Item = str | list[int]
Encoding = Literal["float", "base64"]
InputType = Literal["query", "document"]
#: A deployment: the name of its provider, and the provider's name of the model.
Source = tuple[str, str]
#: The source of a vector that came from the cache.
FROM_CACHE: Source = ("", "")

#: Seconds a caller waits unless it says otherwise.
DEFAULT_TIMEOUT = 600


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the name of a key and what it may do."""

    name: str
    models: frozenset[str] | None = None  # None: every model
    admin: bool = False
    requests_per_minute: int | None = None  # None: no limit
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    dollars_per_month: float | None = None
    user_requests_per_minute: int | None = None  # of each end user of the key
    user_tokens_per_minute: int | None = None
    warn_at: float | None = None  # share of each quota and budget that is a soft limit

    def may_use(self, model: str) -> bool:
        return self.models is None or model in self.models


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """A checked request. ``items`` are all texts or all token lists, in the caller's order."""

    model: str
    items: Sequence[Item]
    encoding: Encoding = "float"
    dimensions: int | None = None
    user: str | None = None
    input_type: InputType | None = None
    timeout: float = DEFAULT_TIMEOUT  # seconds
    caching: bool = False
    passed: Mapping[str, Any] = field(default_factory=dict)  # the model's "pass" fields
    trace: Any = None  # of the caller's span, where requests are traced; changes no vector


@dataclass(frozen=True, slots=True)
class Call:
    """What a provider is asked: the items, and all that changes or accounts for the vectors."""

    model: str  # the provider's name of it
    items: Sequence[Item]
    width: int | None  # of the vectors wanted; None: whatever the provider gives, all alike
    dimensions: int | None = None  # to be sent; None: leave the field out
    input_type: InputType | None = None
    user: str | None = None
    passed: Mapping[str, Any] = field(default_factory=dict)
    trace: Any = None  # as in the request
    headers: Mapping[str, str] | None = None  # to be sent beside the provider's own

    def with_items(self, items: Sequence[Item]) -> Call:
        """The same call for other items."""
        return replace(self, items=items)

    def sent_with(self, headers: Mapping[str, str]) -> Call:
        """The same call, with these headers beside the provider's own."""
        return replace(self, headers=headers)


@dataclass(frozen=True, slots=True)
class Vectors:
    """N vectors, each as float32 little-endian bytes, and what they cost.

    ``tokens`` are per row and sum to what the provider counted. ``estimated`` says that the
    provider gave no count. ``encoding`` is how the provider wrote them, where there was a choice.
    """

    rows: Sequence[bytes]
    tokens: Sequence[int]
    estimated: bool = False
    encoding: Encoding | None = None

    def part(self, start: int, stop: int) -> Vectors:
        """The vectors from ``start`` up to ``stop``."""
        return Vectors(self.rows[start:stop], self.tokens[start:stop], self.estimated)


@dataclass(frozen=True, slots=True)
class Entry:
    """A vector that is kept, as float32 bytes, and the tokens its provider counted."""

    row: bytes
    tokens: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """A request's vectors and the story of how they came.

    ``sources`` tell which deployment embedded each row (or `FROM_CACHE`); one alone, which
    embedded all that did not come from the cache. Empty: all did. ``purchases`` are the tokens that
    this request bought, by deployment: each embedded item once, and none of those that the cache or
    another request had bought.
    """

    vectors: Vectors
    provider: str = ""  # empty: all came from the cache
    attempts: int = 0
    upstream_seconds: float = 0.0
    cache: Literal["off", "miss", "partial", "hit"] = "off"
    cached_tokens: int = 0
    sources: Sequence[Source] = ()
    purchases: Mapping[Source, int] = field(default_factory=dict)

    @property
    def billed_tokens(self) -> int:
        """Tokens bought for this request."""
        return sum(self.purchases.values())

    @property
    def prompt_tokens(self) -> int:
        return sum(self.vectors.tokens)
