"""The deployments to check for drift: each once for its vector space, in however many models."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import ip_address
from urllib.parse import urlsplit

from app.config import ModelSettings, ProviderSettings
from app.dispatch.deployments.deployment import Deployment


@dataclass(slots=True)
class Target:
    """One provider's model in one vector space, and the deployments that stand for it.

    The first deployment that may be called is asked, and charged; the result holds for all of them.
    """

    key: str
    space: str
    deployments: list[tuple[str, Deployment]] = field(default_factory=list)  # model, deployment
    is_on_this_host: bool = False  # its provider: no other host can check it

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
        space, provider = models[model].space, providers[deployment.provider_name]
        place = f"{provider.kind} {provider.base_url or ''}"
        is_here = is_on_this_host(provider)
        if is_here:
            place += f" {hostname()}"
        digest = sha256(place.encode()).hexdigest()[:8]
        key = f"{space} {deployment.label} {digest}"
        target = found.setdefault(key, Target(key, space, is_on_this_host=is_here))
        target.deployments.append((model, deployment))
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
