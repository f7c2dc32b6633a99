"""Embed the items of a request: look up, claim, plan, dispatch, verify, store, put in order.

The result has as many vectors as the request has items, in the same order, all of one width and of
the requested model; otherwise an exception is raised. This module uses neither HTTP nor JSON.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from app.cache.fetch import Collected
from app.cache.keys import keys_of
from app.cache.load import Entries, Job, OnPart
from app.cache.memory import Cache, Caches
from app.cache.singleflight import SingleFlight
from app.concurrency.peer import never_left
from app.dispatch import Dispatcher
from app.dispatch.deployments.deployment import Deployment
from app.domain import Caller, EmbeddingRequest, Entry, Flow, Outcome, Source, sum_purchases
from app.errors import ClientClosedRequest, ClientError, IncompleteAnswer
from app.vectors import BYTES_PER_VALUE

_log = logging.getLogger("app.pipeline")


class Pipeline:
    """Step 5 of a request: uses the cache and the single flight (6), and dispatch (7, 8).

    ``caches`` None: caching is not configured. ``widths`` are the dimensions by model, where the
    settings name them. ``spaces`` are the ids of the models' vector spaces; a model without one has
    a space of its own. ``tokenizers`` are the fingerprints, by model, of those that decode token
    ids. ``apart`` tells models of one space that share no vectors: `app.config.spaces`.
    """

    def __init__(
        self,
        dispatch: Dispatcher,
        caches: Caches | None,
        scope: str = "shared",
        widths: Mapping[str, int | None] | None = None,
        spaces: Mapping[str, str] | None = None,
        tokenizers: Mapping[str, str] | None = None,
        apart: Mapping[str, str] | None = None,
    ) -> None:
        self._dispatch = dispatch
        self._caches = caches
        self._widths = widths or {}
        self._spaces = spaces or {}
        self._tokenizers = tokenizers or {}
        self._apart = apart or {}
        self._per_key = scope == "key"
        self._flights = SingleFlight()

    def run(
        self,
        request: EmbeddingRequest,
        caller: Caller,
        deadline: float,
        has_client_left: Callable[[], bool] = never_left,
    ) -> Outcome:
        """Return the vectors of a request. Raises `ClientError`.

        ``deadline`` is a time of the monotonic clock, in seconds. ``has_client_left`` is called
        once a second while the request waits; where it returns True, `ClientClosedRequest` is
        raised.
        """
        try:
            outcome = self._run(request, caller, deadline, has_client_left)
        except ClientError as error:
            unpaid = self._dispatch.take_unpaid(request)
            error.purchases = sum_purchases(error.purchases, unpaid)
            raise
        if unpaid := self._dispatch.take_unpaid(request):
            outcome = replace(outcome, purchases=sum_purchases(outcome.purchases, unpaid))
        return outcome

    def run_on(
        self,
        deployment: Deployment,
        request: EmbeddingRequest,
        deadline: float,
        has_client_left: Callable[[], bool] = never_left,
    ) -> Outcome:
        """Return the vectors of a request as one deployment embeds them now: from no cache.

        Raises `ClientError`.
        """
        outcome = self._dispatch.embed_on(deployment, request, deadline, has_client_left)
        width = request.dimensions or self._widths.get(request.model)
        verify(outcome.vectors.rows, len(request.items), width, outcome)
        return outcome

    def _run(
        self,
        request: EmbeddingRequest,
        caller: Caller,
        deadline: float,
        has_client_left: Callable[[], bool],
    ) -> Outcome:
        """Return the vectors of a request, without the purchases that `take_unpaid` adds."""
        width = request.dimensions or self._widths.get(request.model)
        if request.caching and self._caches is not None:
            space = self._spaces.get(request.model, request.model)
            cache = self._caches.for_space(space, width)
            owner = caller.name if self._per_key else ""
            tokenizer = self._tokenizers.get(request.model, "")
            if (group := self._apart.get(request.model)) is not None:
                space = f"{space} {group}"  # an id has no space character
            keys = keys_of(request, space, owner, width, tokenizer)
            run = _CachedRun(self._dispatch, cache, request, keys, width, deadline, has_client_left)
            outcome = run.outcome(self._flights)
        else:
            outcome = self._dispatch.embed(request, deadline, has_client_left)
        verify(outcome.vectors.rows, len(request.items), width, outcome)
        return outcome


class _CachedRun:
    """One request that uses the cache: what is missing there is embedded by a single flight."""

    def __init__(
        self,
        dispatch: Dispatcher,
        cache: Cache,
        request: EmbeddingRequest,
        keys: Sequence[bytes],
        width: int | None,
        deadline: float,
        has_client_left: Callable[[], bool],
    ) -> None:
        self._dispatch = dispatch
        self._cache = cache
        self._request = request
        self._keys = keys
        self._width = width
        self._deadline = deadline
        self._has_client_left = has_client_left
        self._items = dict(zip(keys, request.items, strict=True))

    def outcome(self, flights: SingleFlight) -> Outcome:
        """Return the vectors of the request.

        There are three cases for an item: (1) it is in the cache; (2) another request is embedding
        it: wait for that (single flight); (3) else this request embeds it.
        """
        found = zip(self._keys, self._cache.get(self._keys), strict=True)
        cached = {key: entry for key, entry in found if entry is not None}
        missing = [key for key in self._items if key not in cached]
        loaded = self._fetch(missing, flights) if missing else Collected()
        entries = [*cached.values(), *loaded.entries.values()]
        if len({len(entry.row) for entry in entries}) > 1:
            # The model has changed its width, and the settings do not name the right one. Vectors
            # that one job embeds have the same width.
            return self._embed_all(loaded)
        return loaded.outcome(self._keys, cached)

    def _fetch(self, keys: Sequence[bytes], flights: SingleFlight) -> Collected:
        """Return the entries of keys, none of them of a deployment that is ejected for drift.

        See `Dispatcher.embed`. Entries that are embedded again replace the cached ones.
        """
        arguments = self._deadline, self._request.timeout, self, self._has_client_left
        loaded = flights.fetch(keys, *arguments)
        while drifted := self._dispatch.drifted_sources(self._request.model):
            again = [key for key, source in loaded.sources.items() if source in drifted]
            if not again:
                break
            try:
                if self._has_client_left():  # before items are bought a second time
                    raise ClientClosedRequest.before_answer()
                loaded.update(flights.fetch(again, *arguments))
            except ClientError as error:
                error.attempts += loaded.attempts
                error.purchases = sum_purchases(loaded.purchases, error.purchases)
                raise
        return loaded

    def _embed_all(self, loaded: Collected) -> Outcome:
        """Embed all items again, and store them. The outcome also has what ``loaded`` has cost."""
        try:
            if self._has_client_left():  # before all is bought a second time
                raise ClientClosedRequest.before_answer()
            outcome = self._dispatch.embed(self._request, self._deadline, self._has_client_left)
            vectors = outcome.vectors
            verify(vectors.rows, len(self._keys), None, outcome)
        except ClientError as error:
            error.attempts += loaded.attempts
            error.purchases = sum_purchases(loaded.purchases, error.purchases)
            raise
        rows = zip(self._keys, map(Entry, vectors.rows, vectors.tokens), strict=True)
        self._cache.put(list(rows))
        return replace(
            outcome,
            cache="miss",
            attempts=loaded.attempts + outcome.attempts,
            upstream_seconds=loaded.upstream_seconds + outcome.upstream_seconds,
            queue_seconds=loaded.queue_seconds + outcome.queue_seconds,
            purchases=sum_purchases(loaded.purchases, outcome.purchases),
        )

    # For the single flight: see `app.cache.load.Embedding`

    @property
    def flow(self) -> Flow:
        return self._request.flow

    def make_job(
        self, keys: Sequence[bytes], deadline: float, wake: Callable[[], None], on_part: OnPart
    ) -> Job:
        own = replace(self._request, items=[self._items[key] for key in keys])
        return self._dispatch.make_job(own, deadline, wake, on_part)

    def verify(self, entries: Entries) -> None:
        verify([entry.row for _, entry in entries], len(entries), self._width)

    def store(self, entries: Entries) -> None:
        self._cache.put(entries)

    def charge_later(self, source: Source, tokens: int) -> None:
        self._dispatch.charge_later(self._request, source, tokens)


def verify(
    rows: Sequence[bytes],
    count: int,
    width: int | None,
    outcome: Outcome | None = None,
) -> None:
    """Check that there are ``count`` rows, none empty, all of the same width.

    Every vector passes this check before it is stored or sent. ``width`` None: any width. Raises
    `IncompleteAnswer`, with the attempts and purchases of ``outcome``, and logs it: adapters have
    checked the providers' answers before, so a failure here is a bug of the proxy.
    """
    size = len(rows[0]) if width is None and rows else (width or 0) * BYTES_PER_VALUE
    if len(rows) == count and size and set(map(len, rows)) == {size}:
        return
    sizes = sorted({len(row) for row in rows})
    _log.error("a bug: %d vectors of %s bytes for %d items of %d", len(rows), sizes, count, size)
    error = IncompleteAnswer("The proxy failed to put the answer together.")
    if outcome is not None:
        error.attempts, error.purchases = outcome.attempts, dict(outcome.purchases)
    raise error
