"""The values that all steps of a request share: frozen, and without imports from the app.

Those that are made for each request are msgspec's: its C code makes one in a sixth of the time of
a frozen dataclass, and a request has about eight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from msgspec import Struct, field
from msgspec.structs import replace

#: One item to embed: a text, or the ids of its tokens in the model's vocabulary.
Item = str | list[int]
Encoding = Literal["float", "base64"]
InputType = Literal["query", "document"]
#: A deployment, as rows and purchases name it: the name of its provider in the settings, and that
#: provider's name for the model.
Source = tuple[str, str]
#: The source of a vector that came from the cache.
FROM_CACHE: Source = ("", "")

#: OpenAI's ``service_tier``, in the order in which calls leave queues; "flex" is bulk work.
Tier = Literal["priority", "default", "flex"]
TIERS: tuple[Tier, ...] = get_args(Tier)
#: Tiers that every key may ask for, unless the settings say otherwise.
USUAL_TIERS: frozenset[Tier] = frozenset(("default", "flex"))

#: Seconds until a request's deadline, where the request gives no ``timeout``.
DEFAULT_TIMEOUT = 600


class Flow(NamedTuple):
    """The flow of a request: fair queueing shares the slots of a provider among flows.

    Keys of the same tier get slots in proportion to their ``share``. ``user`` is empty unless the
    key divides its share evenly among its end users; dispatch replaces an empty one by the size of
    the request.
    """

    key: str = ""
    share: float = 1.0
    tier: Tier = "default"
    user: str = ""

    def goes_before(self, other: Flow) -> bool:
        """Whether its calls leave a queue before those of another one, by the tier."""
        return TIERS.index(self.tier) < TIERS.index(other.tier)


NO_FLOW = Flow()  # of requests that no key has made


class CallRecord(NamedTuple):
    """An ended attempt to embed items of a request, for observers.

    Times are those of the monotonic clock, in seconds.
    """

    start: int  # the first item
    stop: int  # the first item after them
    source: Source
    queued_at: float
    called_at: float | None  # None: no call was made
    ended_at: float | None  # None: its result was not waited for any more
    result: str  # empty: vectors; else the cause of the failure, or "abandoned"
    requests: int  # that shared the call
    is_hedge: bool  # it was sent beside a slow one
    is_probe: bool  # of an ejected deployment


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated caller of a request: the name of its key, and what the key permits.

    A limit has the name that it has in `app.config.KeySettings`.
    """

    name: str
    models: frozenset[str] | None = None  # None: every model
    admin: bool = False
    requests_per_minute: int | None = None  # None: no limit
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    dollars_per_month: float | None = None
    user_requests_per_minute: int | None = None  # for each end user of the key
    user_tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    warn_at: float | None = None  # the soft limit, as a share of each quota and budget
    share: float = 1.0  # its weight in the queues of providers
    fair_users: bool = False  # its end users divide its share evenly
    service_tier: Tier = "default"  # of requests that ask for none
    service_tiers: frozenset[Tier] = USUAL_TIERS  # that requests may ask for, besides that

    def may_use(self, model: str) -> bool:
        """Return whether the key permits the model."""
        return self.models is None or model in self.models

    def may_ask_for(self, tier: Tier) -> bool:
        """Return whether a request with the key may be of this tier."""
        return tier == self.service_tier or tier in self.service_tiers

    def flow(self, tier: Tier | None, user: str | None) -> Flow:
        """Return the flow of a request; ``tier`` None: it asks for none."""
        own_user = user or "" if self.fair_users else ""
        return Flow(self.name, self.share, tier or self.service_tier, own_user)


class EmbeddingRequest(Struct, frozen=True):
    """A checked request. ``items`` are all texts or all token lists, in the caller's order."""

    model: str
    items: Sequence[Item]
    encoding: Encoding = "float"
    dimensions: int | None = None
    user: str | None = None
    input_type: InputType | None = None
    timeout: float = DEFAULT_TIMEOUT  # seconds
    caching: bool = False
    passed: Mapping[str, Any] = field(default_factory=dict)  # fields passed on to the provider
    trace: Any = None  # the context of the caller's span, if traced; it changes no vector
    flow: Flow = NO_FLOW
    #: Dispatch adds the ended attempts, each as the values of a `CallRecord`; None: no observer
    #: keeps them.
    calls: list[tuple[Any, ...]] | None = None


class Call(Struct, frozen=True):
    """One call to a provider: the items, and all fields that change the vectors."""

    model: str  # the provider's name for it
    items: Sequence[Item]
    width: int | None  # values in a vector; None: any width, the same for all
    dimensions: int | None = None  # sent to the provider; None: not sent
    input_type: InputType | None = None
    user: str | None = None
    passed: Mapping[str, Any] = field(default_factory=dict)
    trace: Any = None  # as in the request
    headers: Mapping[str, str] | None = None  # sent in addition to the provider's own
    #: The tokens of each item, where they are counted already; empty: none are.
    counts: Sequence[int | None] = ()

    def with_items(self, items: Sequence[Item], counts: Sequence[int | None] = ()) -> Call:
        """Return the same call for other items."""
        return replace(self, items=items, counts=counts)

    def with_headers(self, headers: Mapping[str, str]) -> Call:
        """Return the same call with additional headers."""
        return replace(self, headers=headers)


class StatedLimit(NamedTuple):
    """What a provider says of one of its rate limits."""

    remaining: float
    limit: float | None  # None: it does not say
    reset_s: float  # seconds


class Vectors(Struct, frozen=True):
    """N vectors, each as float32 little-endian bytes, and the tokens of each.

    The last three fields are of the answer to one call, and None of the vectors of a request.
    """

    rows: Sequence[bytes]
    tokens: Sequence[int]  # their sum is the count of the provider
    estimated: bool = False  # the provider gave no count: ``tokens`` are estimates
    encoding: Encoding | None = None  # the one that the provider sent; None: it has only one
    #: Seconds until a rate limit of the provider resets that the call has used up; None: none is.
    limit_resets_in: float | None = None
    #: The headers that say what remains of its limits: `app.providers.rate_limits`.
    limit_headers: tuple[str, ...] | None = None

    def slice(self, start: int, stop: int) -> Vectors:
        """Return the vectors from index ``start`` up to, not including, ``stop``."""
        return Vectors(self.rows[start:stop], self.tokens[start:stop], self.estimated)


class Entry(Struct, frozen=True):
    """An entry of the cache: a vector as float32 bytes, and the tokens its provider counted."""

    row: bytes
    tokens: int


class Outcome(Struct, frozen=True):
    """The vectors of a request, and where they came from.

    There are three cases of ``sources``: (1) none: all rows came from the cache; (2) one: this
    deployment embedded all rows that did not; (3) several: one for each row, the deployment that
    embedded it or `FROM_CACHE`. ``purchases`` are the tokens that this request bought, by
    deployment: an item from the cache, or embedded by another request, is not among them.
    """

    vectors: Vectors
    provider: str = ""  # names with commas; empty: all rows came from the cache
    attempts: int = 0  # calls that were made for it: also those of several parts
    upstream_seconds: float = 0.0  # a call was in flight
    queue_seconds: float = 0.0  # none was: an attempt waited for a slot, or for its retry
    cache: Literal["off", "miss", "partial", "hit"] = "off"
    cached_tokens: int = 0
    sources: Sequence[Source] = ()
    purchases: Mapping[Source, int] = field(default_factory=dict)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all items, those from the cache too."""
        return sum(self.vectors.tokens)


def sum_purchases(
    purchases: Mapping[Source, int], others: Mapping[Source, int]
) -> dict[Source, int]:
    """Return the tokens of two purchases together, by deployment."""
    return {
        source: purchases.get(source, 0) + others.get(source, 0)
        for source in {**purchases, **others}
    }
