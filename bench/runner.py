"""Runs scenarios on targets in turn, so that other load affects all of them alike."""

import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson

from bench.answers import mismatch
from bench.gateway import KEY
from bench.load import Load, LoadError, Outcome, Request
from bench.processes import Server
from bench.scenarios import Metric, Scenario
from bench.targets import Place, Setup, Target, start_provider

SETTLE_S = 2.0
"""For many other clients, until their requests wait in the queue."""
TEXTS = 64
"""Different requests that a load goes round."""


@dataclass(frozen=True)
class Running:
    """A target that has been started."""

    target: Target
    server: Server
    provider_port: int
    width: int

    def requests(
        self, items: int, encoding: str, *, cached: bool = False, **options: Any
    ) -> list[Request]:
        """Return prebuilt requests, without a repeated text within a request."""
        return [
            self.request([text(turn, i) for i in range(items)], encoding, cached=cached, **options)
            for turn in range(TEXTS if items < 100 else 2)
        ]

    def request(
        self,
        texts: list[str],
        encoding: str,
        *,
        cached: bool = False,
        model: str = "bench",
        key: str = KEY,
        tier: str | None = None,
    ) -> Request:
        """Return one prebuilt request."""
        query = f"?{len(texts)}&{encoding}&{self.width}" if self.target.floor else ""
        headers = {"authorization": f"Bearer {key}", **self.target.headers(self.provider_port)}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        fields = {"model": model, "input": texts[0] if len(texts) == 1 else texts}
        fields |= {"encoding_format": encoding} | ({"service_tier": tier} if tier else {})
        fields |= dict(self.target.cached_fields or ()) if cached else {}
        body = orjson.dumps(fields)
        head = (
            f"POST {self.target.path}{query} HTTP/1.1\r\nhost: localhost\r\n{lines}"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return Request(head.encode() + body, tuple(texts))


def text(turn: int, item: int) -> str:
    """Return the short text of one item, different for each pair of numbers."""
    return f"text {turn}-{item}: the quick brown fox jumps"


@dataclass(frozen=True)
class Sample:
    """One round: answers per second, latencies in ms, processor ms per request of the target."""

    rate: float
    p50: float
    p99: float
    cpu: float


@dataclass
class Result:
    """All rounds of one scenario on one target, or why there are none."""

    scenario: str
    target: str
    samples: list[Sample] = field(default_factory=list)
    failure: str | None = None

    def median(self, metric: Metric) -> float:
        """Return the median of the rounds."""
        return statistics.median(getattr(sample, metric) for sample in self.samples)

    def spread(self, metric: Metric) -> tuple[float, float]:
        """Return the lowest and the highest round."""
        values = [getattr(sample, metric) for sample in self.samples]
        return min(values), max(values)


@dataclass(frozen=True)
class Effort:
    """Durations and rounds of a measurement."""

    rounds: int
    seconds: float
    worker_class: str = "gevent"


def run(scenarios: Sequence[Scenario], targets: Sequence[Target], effort: Effort) -> list[Result]:
    """Start the servers of each setup, run its rounds, stop the servers."""
    results = []
    by_setup = sorted(scenarios, key=lambda scenario: repr(scenario.setup))
    for setup, group in groupby(by_setup, key=lambda scenario: scenario.setup):
        asked = list(group)
        wanted = [t for t in targets if any(scenario.covers(t) for scenario in asked)]
        with started(setup, wanted, effort.worker_class) as (running, failures):
            for scenario in asked:
                say(f"{scenario.name}: {scenario.title}")
                results += _rounds(scenario, running, effort)
                results += [
                    Result(scenario.name, target.name, failure=why)
                    for target, why in failures
                    if scenario.covers(target)
                ]
    return results


@contextmanager
def started(
    setup: Setup, targets: Sequence[Target], worker_class: str = "gevent"
) -> Iterator[tuple[list[Running], list[tuple[Target, str]]]]:
    """Start a provider and targets in front of it, which have answered once. Return also those that
    did not start, with the reason."""
    running, failures = [], []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        provider = start_provider(setup, folder)
        stack.callback(provider.stop)
        for target in targets:
            server = target.start(setup, Place(provider.port, folder, worker_class))
            stack.callback(server.stop)
            try:
                server.await_port()
                one = Running(target, server, provider.port, setup.width)
                Load(server.port, [one.request([text(0, 0)], "base64")], 1).run(0)
                running.append(one)
            except (RuntimeError, LoadError, OSError) as error:
                say(f"  {target.name}: {error}")
                failures.append((target, "did not start"))
        yield running, failures


def _rounds(scenario: Scenario, running: Sequence[Running], effort: Effort) -> list[Result]:
    chosen = [one for one in running if scenario.covers(one.target)]
    results = {one.target.name: Result(scenario.name, one.target.name) for one in chosen}
    for _ in range(effort.rounds):
        for one in chosen:
            result = results[one.target.name]
            if result.failure:
                continue
            try:
                result.samples.append(measure(scenario, one, effort.seconds))
            except (LoadError, OSError) as error:
                result.failure = str(error)
                say(f"  {one.target.name} failed: {error}")
    return list(results.values())


def measure(scenario: Scenario, one: Running, seconds: float) -> Sample:
    """Run one round: warm up, load, read the processor time, check answers."""
    requests = one.requests(scenario.items, scenario.encoding, cached=scenario.cached)
    with _background_load(scenario, one):
        return load(one, requests, scenario.clients, seconds)


def load(one: Running, requests: Sequence[Request], clients: int, seconds: float) -> Sample:
    """Send requests to one target for some seconds, after a warm-up in which clients connect."""
    before: list[float] = []
    outcome = Load(one.server.port, requests, clients).run(
        seconds, 0.2 + clients / 400, lambda: before.append(one.server.cpu())
    )
    cpu = one.server.cpu() - before[0]
    check(outcome, one)
    return sample(outcome, cpu)


def sample(outcome: Outcome, cpu: float) -> Sample:
    """Return the numbers of one load run."""
    ordered = sorted(outcome.latencies)
    if not ordered:
        raise LoadError("no answer in the measured time")
    return Sample(
        rate=outcome.rate(),
        p50=1000 * statistics.median(ordered),
        p99=1000 * ordered[int(0.99 * (len(ordered) - 1))],
        cpu=1000 * cpu / len(ordered),
    )


def check(outcome: Outcome, one: Running) -> None:
    """Compare recorded answers with the vectors of their texts."""
    for (request, _), body in outcome.samples.items():
        items = ["x"] * len(request.items) if one.target.floor else list(request.items)
        if wrong := mismatch(body, items, one.width):
            raise LoadError(f"wrong answer: {wrong}")


@contextmanager
def _background_load(scenario: Scenario, one: Running) -> Iterator[None]:
    """Run other clients, in their own process, meanwhile."""
    beside = scenario.beside
    if beside is None:
        yield
        return
    requests = one.requests(beside.items, beside.encoding, key=beside.key, tier=beside.tier)
    other = multiprocessing.get_context("fork").Process(
        target=lambda: Load(one.server.port, requests, beside.clients).run(60), daemon=True
    )
    other.start()
    time.sleep(SETTLE_S * (beside.clients > 1))
    try:
        yield
    finally:
        other.kill()
        other.join()


def say(line: str) -> None:
    """Print progress to standard error: standard output is for the tables."""
    print(line, file=sys.stderr, flush=True)
