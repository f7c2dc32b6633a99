"""The operator's commands on the shared cache: counts and clearing, from outside the workers.

They reach the memory of a worker by way of the server: once a second each worker reads the
generations, empties its memory when one has changed, and writes a report of its counts. Clearing
changes a generation first, so that vectors being written at that moment get keys that no request
asks for, and then removes the entries.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from app.cache.entries import Names, digest

#: Seconds after which a worker without a new report counts as ended.
MAX_REPORT_AGE_S = 10.0
#: Keys of one SCAN step, and of one pipeline.
SCAN_COUNT = 500
#: Entries of a space whose size is asked for, for the average.
MAX_SAMPLES = 50


def clear(client: Any, namespace: str, space: str | None = None) -> int:
    """Clear a space, or all of them; return how many entries were removed from the server."""
    names = Names(namespace)
    field = "*" if space is None else digest(space)
    client.hset(names.generations, field, secrets.token_hex(4))
    removed = 0
    for batch in _batches(client.scan_iter(match=names.entries(space), count=SCAN_COUNT)):
        pipe = client.pipeline(transaction=False)
        for name in batch:
            pipe.unlink(name)
        removed += sum(pipe.execute())
    return removed


def stats(
    client: Any, namespace: str, models: Mapping[str, list[str]], space: str | None = None
) -> dict[str, Any]:
    """Return entries and bytes of each space (bytes from a sample), and each worker's report.

    ``models`` are the names of the models of each space. ``space`` None: of every space.
    """
    names = Names(namespace)
    prefix_of_all = names.entries().removesuffix("*:*")
    known = {digest(of): of for of in (*models, *([] if space is None else [space]))}
    counts: dict[str, int] = {}
    samples: dict[str, list[bytes]] = {}
    for name in client.scan_iter(match=names.entries(space), count=SCAN_COUNT):
        space_digest = name.decode().removeprefix(prefix_of_all).partition(":")[0]
        found = known.get(space_digest, f"unknown ({space_digest})")
        counts[found] = counts.get(found, 0) + 1
        sample = samples.setdefault(found, [])
        if len(sample) < MAX_SAMPLES:
            sample.append(name)
    shared = {
        found: {
            "models": sorted(models.get(found, [])),
            "entries": number,
            "bytes": int(number * _average(client, samples[found])),
        }
        for found, number in sorted(counts.items())
    }
    return {"shared": shared, "workers": _workers(client, names)}


def table(found: dict[str, Any]) -> str:
    """Format `stats` for reading."""
    lines = [f"{'shared level: spaces':<44}{'entries':>10}{'MiB':>10}  models"]
    lines += [
        f"  {space:<42}{row['entries']:>10}{row['bytes'] / 2**20:>10.1f}"
        f"  {', '.join(row['models'])}".rstrip()
        for space, row in found["shared"].items()
    ] or ["  (empty)"]
    columns = f"{'entries':>10}{'MiB':>10}{'hits':>10}{'misses':>10}"
    lines.append(f"{'workers: own level':<44}{columns}   shared: hits, misses, lost, spoiled")
    for name, report in found["workers"].items():
        own, shared = report["memory"], report["shared"]
        lines.append(
            f"  {name:<42}{own['entries']:>10}{own['bytes'] / 2**20:>10.1f}"
            f"{own['hits']:>10}{own['misses']:>10}   {shared['hits']}, {shared['misses']}, "
            f"{shared['lost']}, {shared['spoiled']}"
        )
    return "\n".join(lines if found["workers"] else [*lines, "  (none has used the cache yet)"])


def _average(client: Any, names: list[bytes]) -> float:
    sizes = [client.memory_usage(name) or 0 for name in names]
    return sum(sizes) / len(sizes)


def _workers(client: Any, names: Names) -> dict[str, Any]:
    now = time.time()
    reports = {
        name.decode(): orjson.loads(report)
        for name, report in sorted(client.hgetall(names.workers).items())
    }
    gone = [name for name, report in reports.items() if report["time"] < now - MAX_REPORT_AGE_S]
    if gone:
        client.hdel(names.workers, *gone)
    return {name: report for name, report in reports.items() if name not in gone}


def _batches(names: Iterator[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    for name in names:
        batch.append(name)
        if len(batch) == SCAN_COUNT:
            yield batch
            batch = []
    if batch:
        yield batch
