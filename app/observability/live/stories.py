"""Keeps a record of each of the last requests, in memory: its `Story`, which the console shows."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from app.concurrency.locks import uncontended_lock
from app.observability.sides import side_of

if TYPE_CHECKING:
    from app.exchange import Exchange

#: Requests kept of callers; and apart from these of requests without a valid key, so that a flood
#: of them displaces no other.
MAX_STORIES = 1000
MAX_STORIES_WITHOUT_KEY = 100
#: Calls of all requests kept; the oldest requests are dropped beyond.
MAX_CALLS = 10_000
MAX_MESSAGE_LENGTH = 300


class Story(NamedTuple):
    """What happened to one request. It has no inputs, and no secrets.

    `app.observability.live.steps` makes the steps of it. ``started``, ``admitted_at`` and the times
    of the calls are those of the monotonic clock.
    """

    ended_at: float  # seconds since 1970
    id: str
    key: str | None
    user: str | None
    model: str | None
    tier: str | None
    space: str
    status: int
    code: str | None
    side: str | None  # whose the error is
    message: str | None
    items: int
    tokens: int
    cached_tokens: int
    cache: str | None
    attempts: int
    queue_s: float
    upstream_s: float
    cost: int  # in billionths of a dollar
    seconds: float
    started: float
    admitted_at: float  # 0: it was refused before
    calls: Sequence[tuple[Any, ...]]  # the values of a `app.domain.CallRecord` each


#: The values of a `Story`, in order, without their names. They are kept so, and made a `Story` when
#: one is shown: a `Story` for each request would cost more than all else that is done for it here.
StoryValues = tuple[Any, ...]
CALLS = -1  # the place of the calls in them


def story_of(exchange: Exchange, status: int, seconds: float, cost: int, now: float) -> StoryValues:
    """Return the story of a finished request; ``now`` in seconds since 1970."""
    request, outcome, error = exchange.request, exchange.outcome, exchange.error
    caller = exchange.caller
    user = model = tier = code = side = message = cache = None
    items = tokens = cached_tokens = attempts = 0
    queue_s = upstream_s = 0.0
    calls: Sequence[tuple[Any, ...]] = ()
    if request is not None:
        user, model, tier, items = (
            request.user,
            request.model,
            request.flow.tier,
            len(request.items),
        )
        calls = request.calls or ()
    if error is not None:
        code, side = error.code or error.type, side_of(error, exchange.admitted)
        message, attempts = error.log_message[:MAX_MESSAGE_LENGTH], error.attempts
    elif outcome is not None:
        tokens, cached_tokens = outcome.prompt_tokens, outcome.cached_tokens
        cache, attempts = outcome.cache, outcome.attempts
        queue_s, upstream_s = outcome.queue_seconds, outcome.upstream_seconds
    return (
        now,
        exchange.id,
        caller.name if caller is not None else None,
        user,
        model,
        tier,
        exchange.space,
        status,
        code,
        side,
        message,
        items,
        tokens,
        cached_tokens,
        cache,
        attempts,
        queue_s,
        upstream_s,
        cost,
        seconds,
        exchange.started,
        exchange.admitted_at,
        tuple(calls),
    )


class Stories:
    """The stories of the last requests of this process; the lock guards all fields."""

    def __init__(self) -> None:
        self._lock = uncontended_lock()
        self._kept: deque[StoryValues] = deque()
        self._without_key: deque[StoryValues] = deque(maxlen=MAX_STORIES_WITHOUT_KEY)
        self._calls = 0  # of those in ``_kept``

    def keep(self, story: StoryValues, has_key: bool) -> None:
        """Keep a story, and drop the oldest beyond the limits."""
        with self._lock:
            if not has_key:
                self._without_key.append(story)
                return
            self._kept.append(story)
            self._calls += len(story[CALLS])
            while len(self._kept) > MAX_STORIES or self._calls > MAX_CALLS:
                self._calls -= len(self._kept.popleft()[CALLS])

    def find(self, request_id: str) -> list[Story]:
        """Return the stories of the requests with an id, newest first.

        A client chooses its id, and may use one for several requests.
        """
        found = [story for story in self.all() if story.id == request_id]
        return sorted(found, key=lambda story: -story.ended_at)

    def all(self) -> list[Story]:
        """Return the stories of all requests that are kept."""
        with self._lock:
            kept = [*self._kept, *self._without_key]
        return [Story._make(values) for values in kept]
