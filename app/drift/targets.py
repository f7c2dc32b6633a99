"""What is checked: each deployment of each vector space once, however many models have it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import ip_address
from urllib.parse import urlsplit

from app.config import ModelSettings, ProviderSettings
from app.dispatch.deployment import Deployment
from app.dispatch.plan import split
from app.domain import Vectors
from app.drift.texts import PROBES
from app.tokens.counting import estimate


@dataclass(slots=True)
class Target:
    """One provider's model in one vector space, and the deployments that stand for it.

    The first deployment that may be called is asked, and charged; the result holds for all of them.
    """

    key: str
    space: str
    deployments: list[tuple[str, Deployment]] = field(default_factory=list)  # model, deployment

    @property
    def model(self) -> str:
        return self.deployments[0][0]

    @property
    def deployment(self) -> Deployment:
        return self.deployments[0][1]


def targets_of(
    deployments: Iterable[tuple[str, Deployment]],
    models: Mapping[str, ModelSettings],
    providers: Mapping[str, ProviderSettings],
    hostname: Callable[[], str] = socket.gethostname,
) -> dict[str, Target]:
    """Return the targets by their keys, which are the same on every host with these settings.

    A provider on this host itself is another one on each host: its key holds the host's name.
    """
    found: dict[str, Target] = {}
    for model, deployment in deployments:
        space, provider = models[model].space, providers[deployment.name]
        place = f"{provider.kind} {provider.base_url or ''}"
        if is_on_this_host(provider):
            place += f" {hostname()}"
        digest = sha256(place.encode()).hexdigest()[:8]
        key = f"{space} {deployment.label} {digest}"
        found.setdefault(key, Target(key, space)).deployments.append((model, deployment))
    return found


def is_on_this_host(provider: ProviderSettings) -> bool:
    """Whether the provider is this process, or has an address that only this host reaches."""
    if provider.base_url is None:
        return provider.kind == "local"
    host = urlsplit(provider.base_url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def embed_texts(deployment: Deployment, embed: Callable[[Sequence[str]], Vectors]) -> list[bytes]:
    """Return the vectors of the probe texts, in as many calls as the deployment's limits need.

    ``embed`` makes one call. Raises what it raises.
    """
    cuts = split([estimate(text) for text in PROBES], deployment.max_inputs, deployment.max_tokens)
    return [row for start, stop in cuts for row in embed(PROBES[start:stop]).rows]
