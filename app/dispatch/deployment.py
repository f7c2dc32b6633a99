"""A deployment: one model at one provider, what it takes, and how it has been doing."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from dataclasses import replace

import msgspec

from app.config import DeploymentSettings, ModelSettings, ProviderSettings
from app.deadline import Deadline
from app.dispatch.budget import Quota
from app.dispatch.gate import Gate
from app.dispatch.health import Health
from app.dispatch.latency import Latency
from app.domain import Call, EmbeddingRequest, Item, Source, Vectors
from app.errors import BrokenContract, Rejected
from app.mutex import mutex
from app.providers.base import Provider
from app.tokenizers import Tokenizer, Undecodable
from app.usage.share import share
from app.vectors import BadVector, cut

TEXT_ONLY = (
    "'$.input' is invalid. This model takes only text: its settings name no tokenizer that could "
    "make text of token ids."
)
#: Nobody is late within 20 times the p95 of calls of its size, nor within 2 seconds.
_PATIENCE = 20
_LEAST_PATIENCE = 2.0
#: Where no call of that size has been seen yet, silence counts after so many seconds.
_FIRST_PATIENCE = 1.0
#: Seconds for which an answer's latency is believed.
_FRESH = 10.0


class Deployment:
    """Knows what its provider takes, and makes up for what it does not.

    The lock guards ``health``, ``latency`` and ``_since``, which
    `app.dispatch.pool` reads and writes. This process may use a ``part`` of the limits.
    """

    def __init__(
        self,
        model: ModelSettings,
        settings: DeploymentSettings,
        provider_settings: ProviderSettings,
        provider: Provider,
        gate: Gate,
        rng: random.Random,
        part: float = 1.0,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        takes = provider.limits(settings.model)
        self.name = settings.provider
        self.source: Source = (settings.provider, settings.model)
        self.label = "/".join(self.source)
        self.settings = settings
        self.timeout = provider_settings.timeout
        self.gate = gate
        self.concurrency = (
            max(1, int(settings.concurrency * part)) if settings.concurrency else None
        )
        self.max_inputs = settings.max_inputs or provider_settings.max_inputs or takes.max_inputs
        self.max_tokens = settings.max_tokens or provider_settings.max_tokens or takes.max_tokens
        self.merges = provider_settings.merge and self.max_inputs != 1
        self._model = model
        self._provider = provider
        self._takes = takes
        self._tokenizer = tokenizer

        self.lock = mutex()
        self.health = Health(rng.random)
        self.latency = Latency()
        self.answered_at = float("-inf")
        self.quota = Quota(
            _part(settings.requests_per_minute, part), _part(settings.tokens_per_minute, part)
        )
        self._since: dict[int, float] = {}  # when each call under way left, oldest first

    def can_serve(self, dimensions: int | None) -> bool:
        """Whether vectors of that width can be had here."""
        widest = self._model.dimensions
        if dimensions is not None and widest is not None and dimensions > widest:
            return False
        return (
            dimensions is None
            or self._takes.dimensions
            or dimensions == self._model.dimensions
            or self._model.can_cut_to(dimensions)
        )

    def suits(self, request: EmbeddingRequest | None) -> bool:
        """Whether a request, None being any, can be served here while all is well."""
        return request is None or (
            self.can_serve(request.dimensions) and self.understands(request.items)
        )

    def understands(self, items: Sequence[Item]) -> bool:
        """Whether such items, text or tokens, can be embedded here."""
        return isinstance(items[0], str) or self._takes.tokens or self._tokenizer is not None

    def narrower_width(self) -> int | None:
        """A width below the model's own that it promises, if any."""
        model = self._model
        if isinstance(model.matryoshka, tuple):
            return min((w for w in model.matryoshka if w != model.dimensions), default=None)
        return max(1, model.dimensions // 2) if model.matryoshka and model.dimensions else None

    def takes(self, inputs: int, tokens: int) -> bool:
        """Whether so much fits into one call."""
        return (self.max_inputs is None or inputs <= self.max_inputs) and (
            self.max_tokens is None or tokens <= self.max_tokens
        )

    def call(self, request: EmbeddingRequest, items: Sequence[Item]) -> Call:
        """The call for some of a request's items. Raises `Rejected` for tokens that are no text."""
        takes = self._takes
        if not takes.tokens and not isinstance(items[0], str):
            items = self._decoded(items)
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
        )

    def group(self, call: Call, wanted: int | None) -> Hashable | None:
        """Equal for calls that may leave as one; None for one that must leave alone."""
        if not self.merges:
            return None
        passed = msgspec.json.encode(call.passed, order="sorted") if call.passed else b""
        is_text = isinstance(call.items[0], str)
        return (is_text, call.dimensions, wanted, call.input_type, call.user, passed)

    def embed(self, call: Call, wanted: int | None, deadline: Deadline) -> Vectors:
        """Make the call; cut the vectors to ``wanted`` where the provider could not."""
        vectors = self._provider.embed(call, deadline)
        if self._tokenizer is not None and (vectors.estimated or len(call.items) > 1):
            vectors = _recount(vectors, self._tokenizer.count(call.items))
        if wanted is None or call.dimensions is not None or wanted == call.width:
            return vectors
        try:
            return replace(vectors, rows=[cut(row, wanted) for row in vectors.rows])
        except BadVector as error:
            raise BrokenContract(f"answered {error}") from error

    def _decoded(self, items: Sequence[Item]) -> list[Item]:
        if self._tokenizer is None:
            raise Rejected(TEXT_ONLY, param="input")
        try:
            return [i if isinstance(i, str) else self._tokenizer.decode(i) for i in items]
        except Undecodable as error:
            raise Rejected(f"'$.input' is invalid. It has {error}.", param="input") from error

    def known_latency(self, now: float) -> float | None:
        """Seconds a call takes; None where no answer has shown it lately.

        Forgotten after a while, or one that was slow once would never be asked again.
        """
        return self.latency.average if now - self.answered_at < _FRESH else None

    def expected_wait(self, now: float, mean_weight: float, unknown: float) -> float:
        """Seconds a ticket given to it now may take: what is before it times what a call takes.

        A deployment whose oldest call is late is as slow as that call already; one whose calls
        fail must be asked more than once. ``unknown`` stands in for a latency nobody has seen.
        """
        known = self.known_latency(now)
        seconds = known if known is not None else unknown
        if self._since:
            seconds = max(seconds, now - next(iter(self._since.values())))
        succeeding = max(0.05, 1 - self.health.failure_rate(now))
        part = self.settings.weight / mean_weight
        return (self.gate.outstanding(self) / part + 1) * seconds / succeeding

    def patience(self, items: int) -> float:
        """Seconds after which a call of that many items is later than lateness explains."""
        usual = self.latency.p95(items)
        if usual is None:
            return min(self.timeout, _FIRST_PATIENCE)
        return min(self.timeout, max(_LEAST_PATIENCE, _PATIENCE * usual))

    def quota_wait(self, tokens: int, now: float) -> float:
        """Seconds until its quota has room for a call of that many tokens, or of its largest."""
        return self.quota.wait(min(tokens, self.max_tokens or tokens), now)

    def is_throttled(self, now: float) -> bool:
        """Whether it rests for having been asked too much, by its own word or its quota's."""
        return self.health.is_throttled(now) or self.quota_wait(0, now) > 0

    def left(self, call: object, now: float) -> None:
        self._since[id(call)] = now

    def ended(self, call: object) -> None:
        self._since.pop(id(call), None)

    @property
    def under_way(self) -> int:
        return len(self._since)


def _recount(vectors: Vectors, counts: list[int]) -> Vectors:
    """The provider's count shared out by the model's tokenizer; or its count, if that gave none."""
    if vectors.estimated:
        return replace(vectors, tokens=counts, estimated=False)
    return replace(vectors, tokens=share(sum(vectors.tokens), counts))


def _part(limit: int | None, part: float) -> float | None:
    return None if limit is None else limit * part
