"""A deployment: one model at one provider, its limits, and the calls to it."""

from __future__ import annotations

import logging
import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from app.concurrency.deadline import Deadline
from app.config import DeploymentSettings, ModelSettings, ProviderSettings
from app.config.sections.dispatch import DispatchSettings
from app.dispatch.deployments.call_size import staggered
from app.dispatch.deployments.refused_items import RefusedItems
from app.dispatch.deployments.suitability import Widths, max_item_tokens
from app.dispatch.deployments.token_estimate import Expected, TokenEstimate, recounted
from app.dispatch.health.standing import Standing
from app.dispatch.health.unslowed_calls import UnslowedCalls
from app.dispatch.queue.slot_queue import SlotQueue
from app.dispatch.quotas.quota import MAX_WAIT_S
from app.dispatch.quotas.shares import calls_of_worker, quota_of_worker
from app.domain import Call, EmbeddingRequest, Item, Source, Vectors
from app.errors import BrokenContract, ProviderError
from app.providers.base import Provider
from app.tokens.bounded import BoundedTokenizer, is_countable
from app.vectors import BadVector, cut

_log = logging.getLogger("app.dispatch")


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well the vectors of a deployment agree with the reference vectors of their space.

    `app.dispatch.drift` compares them from time to time, and records the result here.
    """

    lowest: float  # cosine of one text's vector with its reference vector
    median: float
    text: str  # the name of the text with the lowest cosine
    checked_at: float  # seconds since 1970
    has_drifted: bool  # the lowest cosine is below CHECK["min_cosine"]


class Deployment:
    """One model at one provider: what one call to it may hold, and the call itself.

    It cuts vectors and counts tokens where the provider does not. ``standing`` is its measured
    state. ``quota`` bounds its calls and tokens per minute: this worker has a ``worker_share`` of
    them, or a lease where ``leases_quota``.
    """

    def __init__(
        self,
        model: ModelSettings,
        settings: DeploymentSettings,
        provider_settings: ProviderSettings,
        provider: Provider,
        queue: SlotQueue,
        rng: random.Random,
        worker_share: float = 1.0,
        tokenizer: BoundedTokenizer | None = None,
        dispatch: DispatchSettings | None = None,
        leases_quota: bool = False,
    ) -> None:
        takes = provider.limits(settings.model)
        dispatch = dispatch or DispatchSettings()
        self.provider_name = settings.provider  # in PROVIDERS
        self.source: Source = (settings.provider, settings.model)
        self.label = "/".join(self.source)  # its name in the log
        self.settings = settings
        self.queue = queue
        self.concurrency = (
            calls_of_worker(settings.concurrency, round(1 / worker_share))
            if settings.concurrency
            else None
        )
        self.max_inputs = settings.max_inputs or provider_settings.max_inputs or takes.max_inputs
        self.max_tokens = settings.max_tokens or provider_settings.max_tokens or takes.max_tokens
        self.estimate = TokenEstimate()  # replaced by that of its `Pool`
        self.long_text = takes.long_text
        self.max_item_tokens = max_item_tokens(settings, provider_settings.kind, takes, tokenizer)
        self.merges = provider_settings.merge and self.max_inputs != 1
        self.quota = quota_of_worker(settings, worker_share, leases_quota)
        self.standing = Standing(provider_settings.timeout, rng, dispatch)
        self.breaker = self.standing.breaker
        self.durations = self.standing.durations
        self.unslowed_calls = UnslowedCalls()
        self.max_lengthening = dispatch.max_lengthening
        self._longest_call_s = dispatch.longest_call
        self._longest_flex_call_s = dispatch.longest_flex_call
        self.agreement: Agreement | None = None  # with the reference of its space, if known
        self._model = model
        self._provider = provider
        self._takes = takes
        self.widths = Widths(model, takes.dimensions)
        self._tokenizer = tokenizer
        self.refused_items = RefusedItems(dispatch.max_refused_items, dispatch.refused_item_ttl)

    # Limits

    @property
    def takes_tokens(self) -> bool:
        """Whether it takes token ids; else it is sent the text that they decode to."""
        return self._takes.tokens

    @property
    def limits_tokens(self) -> bool:
        """Whether a limit of tokens needs the token count before a call."""
        return self.max_tokens is not None or self.settings.tokens_per_minute is not None

    def added_tokens(self, is_text: bool) -> int:
        """Return the tokens that the model adds to each item: 0 to token ids that are sent as ids.

        A text gets them, and so do ids of which this deployment is sent the text.
        """
        if self._tokenizer is None or (self.takes_tokens and not is_text):
            return 0
        return self._tokenizer.special_tokens

    def item_limit(self, is_text: bool) -> int | None:
        """Return the most tokens of an item, without those that the model adds; None: no limit."""
        limit = self.max_item_tokens
        return None if limit is None else limit - self.added_tokens(is_text)

    def fits(self, inputs: int, tokens: int, is_bulk: bool = False) -> bool:
        """Whether one call may hold so many inputs and tokens. ``is_bulk``: it is of tier flex."""
        if self.max_inputs is not None and inputs > self.max_inputs:
            return False
        max_tokens = None if self.max_tokens is None else self.max_call_tokens
        if max_tokens is not None and tokens > max_tokens:
            return False
        return inputs == 1 or self._most_items_in_time(inputs, tokens, is_bulk) is None

    def split(self, tokens: Sequence[int], is_bulk: bool = False) -> list[tuple[int, int]]:
        """Split items of so many tokens into calls that fit: (start, stop) for each."""
        in_time = self._most_items_in_time(len(tokens), sum(tokens), is_bulk)
        limits = [limit for limit in (self.max_inputs, in_time) if limit is not None]
        return staggered(tokens, min(limits, default=None), self.max_call_tokens)

    def _most_items_in_time(self, items: int, tokens: int, is_bulk: bool) -> int | None:
        """Return how many such items a call of `longest_call_s` seconds may hold; None: all."""
        return self.durations.most_items_within(
            self.longest_call_s(is_bulk), items, tokens, is_bulk
        )

    def longest_call_s(self, is_bulk: bool) -> float:
        """Return the most seconds for which a call of several items is planned."""
        if is_bulk and not self.queue.keeps_last_slot:
            return min(self._longest_call_s, self._longest_flex_call_s)
        return self._longest_call_s

    @property
    def max_call_tokens(self) -> int | None:
        """The most expected tokens of a call; fewer after one that was refused as too large.

        `fits` and `quota_wait_s`, which each attempt calls, ask for it only where there is a limit.
        """
        if self.max_tokens is None:
            return None
        return int(self.max_tokens / self.estimate.correction)

    def quota_wait_s(self, expected: Expected, now: float) -> float:
        """Return the seconds until the quota has room for these items, or for their first call.

        Attempts that wait in the queue before them are counted, too. An item over
        ``max_call_tokens`` has a call of its own, with all its tokens.
        """
        quota = self.quota
        if quota.exhausted_until > now + MAX_WAIT_S:
            return quota.exhausted_until - now
        if not quota.is_limited:
            return 0.0
        tokens = expected.total
        max_tokens = None if self.max_tokens is None else self.max_call_tokens
        if max_tokens is not None:
            tokens = max(expected.largest, min(tokens, max_tokens))
        attempts_before, tokens_before = self.queue.waiting_before(self, expected.flow.tier)
        calls_before = min(attempts_before, 1) if self.merges else attempts_before
        return quota.wait_s(tokens_before + tokens, now, calls_before + 1)

    # Calls

    def build_call(
        self, request: EmbeddingRequest, items: Sequence[Item], counts: Sequence[int | None] = ()
    ) -> Call:
        """Return the call for some items of a request, as this deployment takes them; send nothing.

        ``counts`` are their tokens, as far as they are counted.
        """
        takes = self._takes
        sent = request.dimensions if takes.dimensions else None
        return Call(
            model=self.settings.model,
            items=items,
            width=sent or self._model.dimensions,
            dimensions=sent,
            input_type=request.input_type,
            user=request.user if takes.user else None,
            passed=request.passed,
            trace=request.trace,
            counts=counts,
        )

    def group(self, call: Call, kind: Hashable, now: float) -> Hashable | None:
        """Return a key that is equal for calls that may be merged; None: never merge this call."""
        if not self.merges or self.refused_items.has_any(call.items, now):
            return None
        return (kind, call.user)

    def remember_refused(self, items: Sequence[Item], now: float) -> None:
        """Remember items that were refused in a call of their own, so as not to merge them."""
        if self.merges:
            self.refused_items.add(items, now)

    def embed(self, call: Call, cut_to: int | None, deadline: Deadline) -> Vectors:
        """Make the call; cut the vectors to the width ``cut_to`` where the provider did not.

        Raises only `ProviderError`: any other exception of an adapter is a bug, and becomes
        `BrokenContract`.
        """
        try:
            return self._embed(call, cut_to, deadline)
        except ProviderError:
            raise
        except BaseException as error:
            _log.exception("a bug of the provider's adapter failed a call to %s", self.label)
            raise BrokenContract("could not be asked, or its answer not be read") from error

    def _embed(self, call: Call, cut_to: int | None, deadline: Deadline) -> Vectors:
        vectors = self._provider.embed(call, deadline)
        needs_recount = vectors.estimated or len(call.items) > 1
        if self._tokenizer is not None and needs_recount and is_countable(call.items):
            vectors = recounted(vectors, call, self._tokenizer, deadline)
        if not len(vectors.rows) == len(vectors.tokens) == len(call.items):
            raise BrokenContract(f"answered {len(vectors.rows)} vectors for {len(call.items)}")
        if not all(vectors.rows):
            raise BrokenContract("answered an empty vector")
        if cut_to is None or call.dimensions is not None or cut_to == call.width:
            return vectors
        try:
            return replace(vectors, rows=[cut(row, cut_to) for row in vectors.rows])
        except BadVector as error:
            raise BrokenContract(f"answered {error}") from error
