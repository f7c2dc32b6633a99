"""How long reports of a month take: ``python -m bench.month``.

The ledger has 30 days of 10 million requests, evenly of 20 keys, 4 models and 2 statuses. Its sums
by the hour are written directly, and rows for the first and the last hour alone: reports read no
others. Prints the fastest and the median of 15 runs, elapsed and CPU of both sides.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from app.database.columns import COLUMNS
from app.database.engine import Database
from app.database.migrations import migrate
from app.database.tables import HOUR_SUMS, hours, requests
from app.usage.store.queries import ReportQuery, VolumeLimits
from app.usage.store.rollups import HOUR_MS
from app.usage.store.store import Store
from tests.support.postgres import Postgres

HOURS, REQUESTS = 720, 10_000_000
GROUPS = [
    (f"key-{key}", f"model-{model}", status)
    for key in range(20)
    for model in range(4)
    for status in (200, 429)
]
END_MS = 1_793_000_000_000 // HOUR_MS * HOUR_MS + HOUR_MS // 2  # within an hour
START_MS = END_MS - HOURS * HOUR_MS
PER_GROUP = REQUESTS // HOURS // len(GROUPS)  # requests an hour
BATCH = 2_000  # rows of one statement
RUNS = 15
UNUSUAL = VolumeLimits(requests=20_000, tokens=10_000_000)
BERLIN = ZoneInfo("Europe/Berlin")

REPORTS = {
    "by key and model": ReportQuery(["key", "model"], START_MS, END_MS),
    "the same, with hours of unusual volume": ReportQuery(
        ["key", "model"], START_MS, END_MS, unusual=UNUSUAL
    ),
    "by day in Europe/Berlin": ReportQuery(["day"], START_MS, END_MS, zone=BERLIN),
    "by day and key, unusual": ReportQuery(
        ["day", "key"], START_MS, END_MS, unusual=UNUSUAL, zone=BERLIN
    ),
    "of one key, by model, unusual": ReportQuery(
        ["model"], START_MS, END_MS, key="key-7", unusual=UNUSUAL
    ),
}


def sums() -> Iterator[dict[str, object]]:
    """The rollup's rows."""
    first = START_MS - START_MS % HOUR_MS
    for hour in range(HOURS + 1):
        for key, model, status in GROUPS:
            names = {"key": key, "model": model, "provider": "p", "deployment": "d"}
            amounts = {"requests": PER_GROUP} | dict.fromkeys(HOUR_SUMS, PER_GROUP * 100)
            place = {"hour": first + hour * HOUR_MS, "status": status, "error_code": ""}
            yield place | names | amounts


def rows() -> Iterator[dict[str, object]]:
    """The ledger's rows of the first and the last hour."""
    number = 0
    for start in (START_MS - START_MS % HOUR_MS, END_MS - END_MS % HOUR_MS):
        for i in range(PER_GROUP):
            for key, model, status in GROUPS:
                number += 1
                texts = {"writer": "w", "request_id": f"r{number}", "user": "", "error_code": ""}
                texts |= {"space": "s", "service_tier": "default"}
                names = {"key": key, "model": model, "provider": "p", "deployment": "d"}
                place = {"number": number, "time": start + i * HOUR_MS // PER_GROUP}
                amounts = {"status": status} | dict.fromkeys(HOUR_SUMS, 100)
                row: dict[str, object] = texts | names | place | amounts
                yield {name: row[name] for name in COLUMNS}


def fill(database: Database) -> None:
    """Make the tables, and write the sums and the rows."""
    migrate(database.engine)
    for table, made in ((hours, list(sums())), (requests, list(rows()))):
        for i in range(0, len(made), BATCH):
            batch = made[i : i + BATCH]
            database.run(lambda c, t=table, b=batch: c.execute(sa.insert(t), b))
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE" if database.is_sqlite else "VACUUM ANALYZE"))


def measure(database: Database) -> dict[str, list[float]]:
    """Return the seconds of each run of each report."""
    store = Store(database)
    seconds: dict[str, list[float]] = {name: [] for name in REPORTS}
    for _ in range(RUNS):
        for name, query in REPORTS.items():
            began = time.perf_counter()
            found = store.report(query)
            seconds[name].append(time.perf_counter() - began)
            assert found[0]["requests"] > 0
    return seconds


def main() -> None:
    print(f"{(HOURS + 1) * len(GROUPS):,} sums of {HOURS * len(GROUPS) * PER_GROUP:,} requests")
    with tempfile.TemporaryDirectory() as directory, Postgres() as postgres:
        for url in (f"sqlite:///{Path(directory)}/usage.db", postgres.url()):
            database = Database(url)
            fill(database)
            for name, seconds in measure(database).items():
                fastest, median = min(seconds), statistics.median(seconds)
                print(f"{url.partition(':')[0]:20} {name:40} {fastest:.3f} s {median:.3f} s")
            database.close()


if __name__ == "__main__":
    main()
