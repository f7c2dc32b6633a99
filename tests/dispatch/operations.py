"""What the proxy and its administrators do during a simulation of the search, beside requests.

A deployment is ejected for drift for some time, background calls embed texts on a deployment, and
administrators embed requests on one that they name. Drawn from random numbers of their own, so that
a seed keeps the rest of its arrangement.
"""

import random
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from app.dispatch.deployments.deployment import Agreement
from app.dispatch.sending.background_calls import MAX_CALL_S
from app.domain import EmbeddingRequest
from app.errors import ClientError, ProviderError
from tests.dispatch.internals import sleep_in_virtual_time
from tests.dispatch.members import Seen
from tests.dispatch.rows import row
from tests.dispatch.simulator import Simulation

if TYPE_CHECKING:
    from tests.dispatch.arrangement import Arrangement

BACKGROUND = "in the background"  # in the texts of calls beside requests
#: Themes without them: they measure calls by deployment.
NO_BACKGROUND = ("share", "silence")
#: Seconds after its deadline within which a background call must have ended.
END_S = 1.1
GONE = Agreement(0.1, 0.2, "code", 0.0, has_drifted=True)
WELL = Agreement(0.9999, 1.0, "code", 0.0, has_drifted=False)


def is_background(call: Seen) -> bool:
    """Return whether a call was made beside requests."""
    return BACKGROUND in str(call.items[0])


@dataclass(frozen=True)
class Drift:
    """A deployment that is ejected for drift; seconds since the start of the simulation."""

    model: str
    provider: str
    start: float
    stop: float


@dataclass(frozen=True)
class Background:
    """A call to one deployment; ``timeout``: of a request that names it, None: of the proxy."""

    model: str
    provider: str
    after: float
    texts: int
    timeout: float | None


def draw_drifts(made: "Arrangement", length: float) -> list[Drift]:
    """Return the drifts of an arrangement, whose faults last ``length`` seconds."""
    dice = random.Random(f"drifts of {made.seed}")
    if made.theme in NO_BACKGROUND or dice.random() >= 0.25:
        return []
    drifts = []
    for model, deployments in made.models.items():
        for deployment in deployments:
            if dice.random() < 0.4:
                start = dice.random() * length
                stop = start + dice.choice([0.3, 0.2 * length, length])
                drifts.append(Drift(model, deployment["provider"], start, stop))
    return drifts


def draw_background(made: "Arrangement", length: float) -> list[Background]:
    """Return the background calls of an arrangement, whose faults last ``length`` seconds."""
    dice = random.Random(f"background calls of {made.seed}")
    if made.theme in NO_BACKGROUND or dice.random() >= 0.25:
        return []
    calls = []
    for _ in range(dice.choice([1, 5, 10])):
        model = dice.choice(sorted(made.models))
        provider = dice.choice(made.models[model])["provider"]
        timeout = dice.choice([None, 1.0, 5.0, 30.0])
        texts = dice.choice([1, 2, 9]) if timeout is not None else 1
        calls.append(Background(model, provider, dice.random() * length, texts, timeout))
    return calls


def schedule(run: Simulation, made: "Arrangement") -> None:
    """Let drifts and background calls happen in a simulation that starts now."""
    world, began = run.world, run.world.now
    for dispatcher in run.dispatchers:
        sleep_in_virtual_time(dispatcher, world)
    for drift in made.drifts:
        world.at(began + drift.start, partial(world.spawn, _drift, run, drift))
    for number, call in enumerate(made.background):
        world.at(began + call.after, _starting(run, call, number))


def _drift(run: Simulation, drift: Drift) -> None:
    """Let a deployment be ejected for drift, and be back some time later."""
    _set_agreement(run, drift, GONE)
    run.world.pause(drift.stop - drift.start)
    _set_agreement(run, drift, WELL)


def _set_agreement(run: Simulation, drift: Drift, agreement: Agreement) -> None:
    for dispatcher in run.dispatchers:
        for model, deployment in dispatcher.deployments():
            if (model, deployment.provider_name) == (drift.model, drift.provider):
                dispatcher.set_agreement(deployment, agreement, ejects=True)


def _starting(run: Simulation, call: Background, number: int):  # type: ignore[no-untyped-def]
    texts = [f"{BACKGROUND} {number} {place}" for place in range(call.texts)]
    make = _embed_in_background if call.timeout is None else _embed_on
    return lambda: run.world.spawn(make, run, call, texts)


def _embed_in_background(run: Simulation, call: Background, texts: list[str]) -> None:
    world, calls = run.world, run.dispatcher.background_calls
    began = world.now
    try:
        vectors = calls.embed(run.deployment(call.provider, call.model), texts, slot_wait_s=5.0)
    except ProviderError:
        pass
    else:
        _check_rows(run, texts, vectors.rows)
    if world.now > began + 5.0 + MAX_CALL_S + END_S:
        world.wrong.append(f"a background call took {world.now - began:.1f} s")


def _embed_on(run: Simulation, call: Background, texts: list[str]) -> None:
    assert call.timeout is not None
    world = run.world
    ends_at = world.now + call.timeout
    request = EmbeddingRequest(call.model, texts, timeout=call.timeout)
    deployment = run.deployment(call.provider, call.model)
    try:
        vectors = run.pipeline.run_on(deployment, request, ends_at).vectors
    except ClientError as error:
        if error.status == 500:
            world.wrong.append(f"an administrator got {error!r}")
    else:
        _check_rows(run, texts, vectors.rows)
    if world.now > ends_at + END_S:
        world.wrong.append(f"an administrator waited {world.now - ends_at:.1f} s too long")


def _check_rows(run: Simulation, texts: list[str], rows) -> None:  # type: ignore[no-untyped-def]
    wanted = [row(text, None, len(found) // 4) for text, found in zip(texts, rows, strict=True)]
    if list(rows) != wanted:
        run.world.wrong.append(f"wrong rows for {texts[:2]}")
