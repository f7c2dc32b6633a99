"""Measures growth of the proxy's cost with inputs, cached entries and configuration."""

from collections.abc import Iterator
from dataclasses import dataclass

from bench import gateway
from bench.footprint import one_proxy
from bench.load import Load, LoadError
from bench.processes import memory
from bench.runner import Running, check, load, say, text
from bench.targets import Setup

INPUTS = 1, 8, 64, 512, 2048
ENTRIES = 1_000, 10_000, 100_000, 1_000_000
CONFIGURED = {
    "keys": (1, 100, 10_000),
    "models": (1, 100, 10_000),
    "deployments": (1, 10, 100, 1_000),
}
FILL = 2000
"""Inputs a request while the cache is filled."""


@dataclass(frozen=True)
class Point:
    """One size of one thing."""

    what: str
    size: int
    cpu: float
    """Processor ms a request."""
    p50: float
    """ms."""
    memory: float
    """MB of the worker."""


def run() -> list[Point]:
    """Measure all; a part that fails is reported and left out."""
    points = []
    for part in (inputs, cached, configured):
        try:
            points += list(part())
        except (LoadError, OSError) as error:
            say(f"growth, {part.__name__}: {error}")
    return points


def inputs() -> Iterator[Point]:
    """Measure requests with increasing inputs, one client."""
    with one_proxy(gateway.Settings()) as proxy:
        for encoding in ("base64", "float"):
            for size in INPUTS:
                yield _point(f"inputs, {encoding}", size, proxy, proxy.requests(size, encoding), 1)


def cached() -> Iterator[Point]:
    """Measure hits of a cache with increasing entries; 64 wide, so that a million fit."""
    settings = gateway.Settings(cache_bytes=4 << 30)
    with one_proxy(settings, Setup(width=64)) as proxy:
        filled = 0
        for size in ENTRIES:
            for start in range(filled, size, FILL):
                texts = [text(0, i) for i in range(start, min(start + FILL, size))]
                request = proxy.request(texts, "base64", cached=True)
                check(Load(proxy.server.port, [request], 1).run(0), proxy)
            filled = size
            spread = range(0, size, size // 64)
            hits = [proxy.request([text(0, i)], "base64", cached=True) for i in spread]
            yield _point("cached entries", size, proxy, hits, 1)


def configured() -> Iterator[Point]:
    """Measure increasing keys, models, and deployments of the requested model."""
    for what, sizes in CONFIGURED.items():
        for size in sizes:
            with one_proxy(gateway.Settings(**{what: size})) as proxy:
                yield _point(what, size, proxy, proxy.requests(1, "base64"), 1)


def _point(what: str, size: int, proxy: Running, requests: list, clients: int) -> Point:
    say(f"growth: {what} {size:,}")
    seen = load(proxy, requests, clients, 1.0)
    return Point(what, size, seen.cpu, seen.p50, memory(proxy.server.worker()) / 1e6)
