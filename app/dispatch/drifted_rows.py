"""Embeds rows again whose deployment is ejected for drift before their answer is complete.

The calls of a large request may take minutes. Where one of its deployments is ejected for drift
meanwhile, an answer with the rows that it had embedded before would mix two vector spaces. They are
embedded again within the request's deadline, free of charge to the retry budget, as a fail-over
after drift is. The request pays for the rows that are dropped, too: they were bought for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from app.concurrency.peer import never_left
from app.dispatch.dispatcher import Dispatcher
from app.domain import EmbeddingRequest, Outcome, Source, Vectors, sum_purchases
from app.errors import ClientClosedRequest, ClientError


def embed(
    dispatch: Dispatcher,
    request: EmbeddingRequest,
    deadline: float,
    has_client_left: Callable[[], bool] = never_left,
) -> Outcome:
    """Return the vectors of a request, none of them of a deployment that is ejected for drift.

    The arguments are those of `Dispatcher.embed`.
    """
    outcome = dispatch.embed(request, deadline, has_client_left)
    positions = _drifted(dispatch, request, outcome) if dispatch.has_drifted else ()
    while positions:
        part = replace(request, items=[request.items[position] for position in positions])
        try:
            if has_client_left():  # before rows are bought a second time
                raise ClientClosedRequest.before_answer()
            again = dispatch.embed(part, deadline, has_client_left)
        except ClientError as error:
            error.attempts += outcome.attempts
            error.purchases = sum_purchases(outcome.purchases, error.purchases)
            raise
        outcome = _merged(outcome, positions, again)
        is_mixed = len(set(map(len, outcome.vectors.rows))) > 1  # of two widths: embed all again
        positions = range(len(request.items)) if is_mixed else _drifted(dispatch, request, outcome)
    return outcome


def _drifted(dispatch: Dispatcher, request: EmbeddingRequest, outcome: Outcome) -> Sequence[int]:
    """Return the positions of the rows whose deployment is ejected for drift now."""
    drifted = dispatch.drifted_sources(request.model)
    if not drifted:
        return ()
    sources = _source_of_each(outcome)
    return [position for position, source in enumerate(sources) if source in drifted]


def _source_of_each(outcome: Outcome) -> list[Source]:
    sources = list(outcome.sources)
    return sources * len(outcome.vectors.rows) if len(sources) == 1 else sources


def _merged(outcome: Outcome, positions: Sequence[int], again: Outcome) -> Outcome:
    """Return an outcome whose rows at ``positions`` are those of ``again``."""
    rows, tokens = list(outcome.vectors.rows), list(outcome.vectors.tokens)
    sources = _source_of_each(outcome)
    renewed = zip(
        positions, again.vectors.rows, again.vectors.tokens, _source_of_each(again), strict=True
    )
    for position, row, count, source in renewed:
        rows[position], tokens[position], sources[position] = row, count, source
    distinct = list(dict.fromkeys(sources))
    return replace(
        outcome,
        vectors=Vectors(rows, tokens, outcome.vectors.estimated or again.vectors.estimated),
        provider=",".join(dict.fromkeys(name for name, _ in distinct)),
        attempts=outcome.attempts + again.attempts,
        upstream_seconds=outcome.upstream_seconds + again.upstream_seconds,
        queue_seconds=outcome.queue_seconds + again.queue_seconds,
        sources=sources if len(distinct) > 1 else distinct,
        purchases=sum_purchases(outcome.purchases, again.purchases),
    )
