"""Prepares a request before it has a job: the deployments that can serve it, and its tokens.

All work on long texts is done here (`app.tokens.bounded`), under no lock and by the caller's
deadline: the tokens of an item are counted at most once, and token ids are decoded once, for
deployments that take only text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from app.concurrency.deadline import Deadline
from app.concurrency.threads import NoThread
from app.dispatch.deployments.deployment import Deployment
from app.dispatch.deployments.pool import Pool
from app.dispatch.deployments.suitability import ItemLengths
from app.domain import EmbeddingRequest, Item
from app.errors import BadRequest, DeadlineExceeded, Overloaded, Rejected
from app.tokens.bounded import BoundedTokenizer
from app.tokens.tokenizers import Undecodable

TEXT_ONLY = (
    "'$.input' is invalid. This model takes only text: its settings name no tokenizer that could "
    "make text of token ids."
)


class Prepared(Struct):
    """What the parts of a request need to know; positions are those of its items."""

    suitable: Sequence[Deployment]  # that can serve it, whatever their health
    tokens: list[int]  # expected, of each item
    counts: Sequence[int | None] = ()  # by the tokenizer; empty: none are counted
    texts: Sequence[str] | None = None  # of token ids, for deployments that take only text

    def items(
        self, deployment: Deployment, request: EmbeddingRequest, start: int, stop: int
    ) -> Sequence[Item]:
        """Return items of the request as the deployment takes them."""
        if self.texts is not None and not deployment.takes_tokens:
            return self.texts[start:stop]
        return request.items[start:stop]


def prepare(
    pool: Pool,
    request: EmbeddingRequest,
    deadline: Deadline,
    among: Sequence[Deployment] | None = None,
) -> Prepared:
    """Prepare a request. ``among``: only these deployments may serve it; None: all of its model.

    Raises `BadRequest`, with the reason of the last deployment, if none can serve all of it,
    `DeadlineExceeded` (504) if the deadline passes first, and `Overloaded` (503) if no thread can
    be started for a tokenizer.
    """
    items, estimate = request.items, pool.estimate
    suitable: Sequence[Deployment] = pool.deployments if among is None else among
    if request.dimensions is not None:
        suitable = _without(suitable, lambda d: d.widths.refusal_of(request.dimensions))
    counts: Sequence[int | None] = ()
    texts: Sequence[str] | None = None
    try:
        if estimate.tokenizer is not None:  # settings with ``max_item_tokens`` must name one
            counts = estimate.count(items, deadline)
            suitable, counts = _without_too_long(
                suitable, items, counts, estimate.tokenizer, deadline
            )
        if not isinstance(items[0], str) and not all(d.takes_tokens for d in suitable):
            refusal, texts = _decode(items, estimate.tokenizer, deadline)
            suitable = _without(suitable, lambda d: None if d.takes_tokens else refusal)
    except TimeoutError as error:
        raise DeadlineExceeded.after(request.timeout) from error
    except NoThread as error:
        raise Overloaded("The proxy is overloaded.", retry_after=1) from error
    return Prepared(suitable, estimate.expect(items, counts), counts, texts)


def _without_too_long(
    deployments: Sequence[Deployment],
    items: Sequence[Item],
    counts: Sequence[int | None],
    tokenizer: BoundedTokenizer,
    deadline: Deadline,
) -> tuple[Sequence[Deployment], Sequence[int | None]]:
    """Return the deployments whose limit no item exceeds, and the tokens that are known by now.

    Raises `BadRequest`, with the limit that allows the longest items, where all are exceeded.
    """
    is_text = isinstance(items[0], str)
    limits = {d: d.item_limit(is_text) for d in deployments}
    known = [limit for limit in limits.values() if limit is not None]
    if not known:
        return deployments, counts
    lengths = ItemLengths(items, counts, tokenizer)
    lengths.count(min(known), max(known), deadline)
    suitable = [d for d in deployments if lengths.are_within(limits[d])]
    if not suitable:
        widest = deployments[list(limits.values()).index(max(known))]
        assert widest.max_item_tokens is not None
        raise lengths.refusal(widest.max_item_tokens, widest.added_tokens(is_text))
    return suitable, lengths.counts


def _without(
    deployments: Sequence[Deployment], refusal_of: Callable[[Deployment], Rejected | None]
) -> Sequence[Deployment]:
    """Return the deployments that do not refuse. Raises `BadRequest` where all do."""
    refusals = [refusal_of(deployment) for deployment in deployments]
    if all(refusals):
        last = refusals[-1]
        assert last is not None
        raise BadRequest(last.message, param=last.param)
    return [d for d, refusal in zip(deployments, refusals, strict=True) if refusal is None]


def _decode(
    items: Sequence[Item], tokenizer: BoundedTokenizer | None, deadline: Deadline
) -> tuple[Rejected | None, Sequence[str] | None]:
    """Return the texts of token ids, or why there are none."""
    if tokenizer is None:
        return Rejected(TEXT_ONLY, param="input"), None
    try:
        return None, tokenizer.decode([i for i in items if not isinstance(i, str)], deadline)
    except Undecodable as error:
        return Rejected(f"'$.input' is invalid. It has {error}.", param="input"), None
