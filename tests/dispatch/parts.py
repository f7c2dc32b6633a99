"""Builders of single objects of dispatch."""

import random
from collections.abc import Sequence
from typing import Any

from app.concurrency.deadline import Deadline
from app.config import DeploymentSettings, ModelSettings, ProviderSettings
from app.dispatch.deployments.deployment import Deployment
from app.dispatch.deployments.pool import Pool
from app.dispatch.deployments.token_estimate import Expected
from app.dispatch.job.part import Part
from app.dispatch.queue.attempts import Attempt
from app.dispatch.queue.batch import Batch, tokens_of
from app.dispatch.queue.slot_queue import SlotQueue
from app.domain import Call, Vectors
from tests.dispatch.members import Member, good
from tests.dispatch.virtual import World

SEED = 7
T = 1000.0  # a time of the monotonic clock


def deployment(
    name: str = "a",
    queue: SlotQueue | None = None,
    provider: dict[str, Any] | None = None,
    worker_share: float = 1.0,
    **settings: Any,
) -> Deployment:
    """Return a deployment of the model "m" at the provider ``name``."""
    made = DeploymentSettings(provider=name, model="m", **settings)
    return Deployment(
        ModelSettings("m", (made,)),
        made,
        ProviderSettings(name, "openai", **(provider or {})),
        Member(World(), name, good()),
        queue or SlotQueue(64),
        random.Random(SEED),
        worker_share,
    )


def pool(*deployments: Deployment, seed: int = SEED, **options: Any) -> Pool:
    """Return the pool of these deployments."""
    return Pool("m", deployments, random.Random(seed), **options)


def attempt(
    deployment: Deployment,
    items: int = 1,
    group: object = "g",
    tokens: int = 1,
    deadline: float = T + 100.0,
    kind: str = "kind",
    **options: Any,
) -> Attempt:
    """Return an attempt of ``items`` items. ``group`` None: it is never merged."""
    call = Call("m", [f"item {i}" for i in range(items)], None)
    results: dict[str, Any] = {"on_result": lambda attempt, result, now: None, **options}
    return Attempt(
        deployment=deployment,
        call=call,
        group=group,
        kind=kind,
        tokens=tokens,
        deadline=Deadline(deadline),
        queued_at=T,
        **results,
    )


def part(size: int = 1, **fields: Any) -> Part:
    """Return a part of ``size`` items, one expected token each."""
    return Part(0, [1] * size, **fields)


def batch(*attempts: Attempt) -> Batch:
    """Return a batch that is in no queue."""
    carried = list(attempts)
    reservation = attempts[0].deployment.quota.reserve(tokens_of(carried), T)
    return Batch.with_slot(carried, "key", reservation, [])


def expected(tokens: int) -> Expected:
    """Return expected tokens of one item."""
    return Expected(tokens, tokens)


def vectors(numbers: Sequence[int], width: int = 1, **options: Any) -> Vectors:
    """Return for each number a vector that no other number has, and its tokens."""
    rows = [f"{number:04}".encode() * width for number in numbers]
    return Vectors(rows, list(numbers), **options)
