"""Measures start, idle memory and disk of a target, and peak memory of one answer."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from time import perf_counter

from bench import gateway
from bench.load import Load, LoadError
from bench.processes import forget_peak, memory, peak, resident
from bench.runner import Running, check, say, started, text
from bench.targets import Place, Setup, Target

MB = 1e6


@dataclass(frozen=True)
class Idle:
    """A target just started, after one answer."""

    target: str
    start: float
    """Seconds from launch to the first answer."""
    worker: float
    """MB of one worker (PSS: shared pages counted by share)."""
    everything: float
    """MB of all its processes."""


@dataclass(frozen=True)
class Peak:
    """Memory that one large answer takes above idle, in a worker that has not seen one."""

    items: int
    encoding: str
    answer: float
    """MB."""
    above_idle: float
    """MB."""
    seconds: float


def proxy_with(settings: gateway.Settings, name: str = "proxy") -> Target:
    """Return the proxy as a target with given settings."""

    def start(setup: Setup, place: Place) -> gateway.Server:
        own = replace(settings, provider_port=place.provider_port, width=setup.width)
        return gateway.start(own, place.folder, setup.workers, place.worker_class)

    return Target(name, start, gateway.missing, cached_fields=(("caching", True),))


@contextmanager
def one_proxy(settings: gateway.Settings, setup: Setup | None = None) -> Iterator[Running]:
    """Start a proxy with these settings in front of a fast provider."""
    with started(setup or Setup(), [proxy_with(settings)]) as (running, failures):
        if failures:
            raise LoadError(failures[0][1])
        yield running[0]


def idle(targets: Sequence[Target]) -> list[Idle]:
    """Start each target alone, twice; return the faster start."""
    local = proxy_with(gateway.Settings(local=True), "proxy with local model")
    rows = []
    for target in [*targets, *([local] if not gateway.missing() else [])]:
        say(f"idle: {target.name}")
        model = "wordllama" if target.name == local.name else "bench"
        try:
            rows.append(min((_idle(target, model) for _ in range(2)), key=lambda row: row.start))
        except (LoadError, OSError) as error:
            say(f"  {target.name} failed: {error}")
    return rows


def _idle(target: Target, model: str) -> Idle:
    with started(Setup(), [target]) as (running, failures):
        if failures:
            raise LoadError(failures[0][1])
        server = running[0].server
        first = perf_counter() - server.launched
        if model != "bench":  # now the local model is in memory, too
            request = running[0].request([text(0, 0)], "base64", model=model)
            Load(server.port, [request], 1).run(0)
        whole = sum(map(memory, server.tree()))
        return Idle(target.name, first, memory(server.worker()) / MB, whole / MB)


def peaks() -> list[Peak]:
    """Return the proxy's peaks for a few large answers, each in a fresh worker."""
    rows = []
    for items, encoding in ((512, "float"), (512, "base64"), (8192, "float"), (8192, "base64")):
        say(f"peak: {items} inputs, {encoding}")
        try:
            rows.append(_peak(items, encoding))
        except (LoadError, OSError) as error:
            say(f"  failed: {error}")
    return rows


def _peak(items: int, encoding: str) -> Peak:
    with one_proxy(gateway.Settings()) as proxy:
        worker = proxy.server.worker()
        request = proxy.request([text(0, i) for i in range(items)], encoding)
        before = resident(worker)
        forget_peak(worker)
        outcome = Load(proxy.server.port, [request], 1).run(0)
        above = peak(worker) - before
        check(outcome, proxy)
        ((_, size),) = outcome.samples
        return Peak(items, encoding, size / MB, above / MB, outcome.latencies[0])


def installed() -> dict[str, float]:
    """Return MB on disk of the proxy and of each package it needs, without extras."""
    sizes: dict[str, float] = {}
    todo = ["embeddings-proxy"]
    while todo:
        name = todo.pop().lower().replace("_", "-")
        if name in sizes:
            continue
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        sizes[name] = _size(found)
        todo += _needed(found)
    return sizes


def _needed(found: Distribution) -> list[str]:
    from packaging.requirements import Requirement

    wanted = map(Requirement, found.requires or ())
    return [r.name for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]


def _size(found: Distribution) -> float:
    if re.match("embeddings.proxy", found.name):  # installed in place: count the package itself
        paths = [gateway.ROOT / "wsgi.py", *(gateway.ROOT / "app").rglob("*")]
    else:
        paths = [found.locate_file(file) for file in found.files or ()]
    return sum(path.stat().st_size for path in map(gateway.Path, paths) if path.is_file()) / MB
