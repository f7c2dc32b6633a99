"""The settings of who watches: metrics and traces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Who may read /metrics without a key: this host.
LOOPBACK = ("127.0.0.0/8", "::1/128")


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    enabled: bool = True
    allowed: tuple[str, ...] = LOOPBACK  # networks


@dataclass(frozen=True, slots=True)
class TracingSettings:
    endpoint: str = field(repr=False)  # of OTLP over HTTP: …/v1/traces; may hold a password
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    sample: float = 1.0  # the part of the traces that begin here
    service: str = "embeddings-proxy"
    timeout: float = 5.0  # seconds, to hand spans over; a stop waits as long
