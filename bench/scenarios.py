"""The requests to the targets, the number compared, and its goal."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from bench.gateway import KEY, OTHER_KEY
from bench.targets import Setup, Target

Metric = Literal["cpu", "rate", "p50", "p99", "added"]

UNITS: dict[Metric, str] = {
    "cpu": "CPU ms/request",
    "rate": "requests/s",
    "p50": "p50 ms",
    "p99": "p99 ms",
    "added": "p50 ms over direct",
}


PLAIN = Setup()
MERGING = Setup(proxy_slots=2)
UNMERGED = Setup(merge=False)
SLOW = Setup(delay=0.05, workers=2)
SCARCE = Setup(delay=0.05, provider_slots=8, proxy_slots=8, workers=2)
CROWD = Setup(delay=0.05, provider_slots=8, proxy_slots=8)
CACHED = Setup(cache=True)
LENT = dataclasses.replace(SCARCE, max_inputs=8)


INGEST = Setup(item_delay=0.002, provider_slots=4, proxy_slots=4, max_inputs=64, keys=2)
INGEST_2 = dataclasses.replace(INGEST, workers=2)


@dataclass(frozen=True)
class Background:
    """Other clients, which keep asking meanwhile."""

    items: int
    encoding: Literal["base64", "float"] = "base64"
    clients: int = 1
    key: str = KEY
    tier: str | None = None
    """Their ``service_tier``."""


BATCHES = Background(512, "float")
BULK = Background(500, clients=64, key=OTHER_KEY)
FLEX = dataclasses.replace(BULK, tier="flex")
QUERIES = Background(1, key=OTHER_KEY)


@dataclass(frozen=True)
class Scenario:
    """One load for every target in ``setup``."""

    name: str
    title: str
    goals: dict[Metric, float | None]
    """The numbers looked at, each with what the proxy should reach: at most this, or at least
    where it is a rate."""
    clients: int = 1
    items: int = 1
    encoding: Literal["base64", "float"] = "base64"
    cached: bool = False
    beside: Background | None = None
    setup: Setup = PLAIN
    quick: bool = True
    only: tuple[str, ...] = ()
    """Targets this makes sense for; empty: all."""

    def covers(self, target: Target) -> bool:
        """Return whether ``target`` runs this scenario."""
        if self.cached and target.cached_fields is None:
            return False
        return not self.only or target.name in self.only


SCENARIOS = (
    Scenario("small-base64", "one short input, base64, 32 clients", {"cpu": 0.35},
             clients=32, setup=MERGING),
    Scenario("small-float", "one short input, floats, 32 clients", {"cpu": 0.40},
             clients=32, encoding="float", setup=MERGING),
    Scenario("small-unmerged", "one short input, base64, 32 clients, no merging", {"cpu": 0.95},
             clients=32, quick=False, only=("flask floor", "proxy"), setup=UNMERGED),
    Scenario("one-client", "one short input, base64, 1 client", {"cpu": 0.80, "added": None}),
    Scenario("slow-provider", "256 clients, provider takes 50 ms", {"rate": 3000},
             clients=256, setup=SLOW),
    Scenario("scarce-provider", "256 clients, provider takes 50 ms and only 8 calls at once",
             {"rate": 3000}, clients=256, setup=SCARCE),
    Scenario("crowd", "1,000 clients, provider takes 50 ms and only 8 calls at once, 1 worker",
             {"rate": 2000}, clients=1000, setup=CROWD, quick=False),
    Scenario("batch-float", "512 inputs, floats, 1 client", {"p50": 45},
             items=512, encoding="float"),
    Scenario("batch-base64", "512 inputs, base64, 1 client", {"p50": 12}, items=512),
    Scenario("beside-batches", "one short input, another client sending 512-float batches",
             {"p50": 8}, beside=BATCHES),
    Scenario("query-beside-ingest", "one short input, another key's 64 clients of 500 inputs",
             {"p50": 60, "p99": 200}, beside=BULK, setup=INGEST, only=("proxy",)),
    Scenario("query-beside-flex", "the same, of service tier flex",
             {"p50": 40, "p99": 100}, beside=FLEX, setup=INGEST, only=("proxy",)),
    Scenario("query-beside-ingest-2", "another key's 64 clients of 500 inputs, 2 workers",
             {"p50": 60, "p99": 200}, beside=BULK, setup=INGEST_2, quick=False, only=("proxy",)),
    Scenario("ingest", "64 clients of 500 inputs alone", {"rate": None},
             clients=64, items=500, setup=INGEST, quick=False, only=("proxy",)),
    Scenario("ingest-beside-query", "64 clients of 500 inputs, another key's queries",
             {"rate": None}, clients=64, items=500, beside=QUERIES, setup=INGEST, quick=False,
             only=("proxy",)),
    Scenario("lent-slots", "1 client of 500 inputs, provider takes 8 inputs and 8 calls, 2 workers",
             {"p50": 600}, items=500, setup=LENT, quick=False, only=("proxy",)),
    Scenario("cached-single", "one cached input, 32 clients", {"rate": 3000, "cpu": None},
             clients=32, cached=True, setup=CACHED),
    Scenario("cached-batch", "64 cached inputs, 1 client", {"p50": 1.2},
             items=64, cached=True, setup=CACHED),
)  # fmt: skip
