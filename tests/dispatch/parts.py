"""Single parts of dispatch, made without the rest."""

import random
from typing import Any

from app.config import DeploymentSettings, ModelSettings, ProviderSettings
from app.dispatch.deployment import Deployment
from app.dispatch.gate import Gate, Ticket
from app.dispatch.pool import Pool
from app.domain import Call
from tests.dispatch.members import Member, good
from tests.dispatch.virtual import World

SEED = 7


def deployment(
    name: str = "a",
    gate: Gate | None = None,
    provider: dict[str, Any] | None = None,
    **settings: Any,
) -> Deployment:
    """A deployment of the model "m" at the provider ``name``."""
    made = DeploymentSettings(provider=name, model="m", **settings)
    return Deployment(
        ModelSettings("m", (made,)),
        made,
        ProviderSettings(name, "openai", **(provider or {})),
        Member(World(), name, good()),
        gate or Gate(64),
        random.Random(SEED),
    )


def pool(*deployments: Deployment, seed: int = SEED) -> Pool:
    return Pool("m", deployments, random.Random(seed))


def ticket(
    to: Deployment, items: int = 1, group: object = "g", tokens: int = 1, deadline: float = 100.0
) -> Ticket:
    """``items`` items that nobody else has. ``group`` None: leaves alone."""
    call = Call("m", [f"item {i}" for i in range(items)], None)
    return Ticket(to, call, group, tokens, deadline, lambda ticket: None)
