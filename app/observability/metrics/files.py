"""A process's numbers, in files of prometheus_client's multiprocess mode.

prometheus_client writes a value through a lock, a look-up and two conversions: 1 µs, or 2 µs for a
histogram, and twice that in a busy worker. Here a number is its place in a mapped file, seen as an
array of doubles: adding to it takes 0.1 µs. The layout of the files, and reading them, is the
library's (``mmap_dict.py``: a key, then its value at a multiple of eight bytes).
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
import time
import weakref
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.utils import floatToGoString

from app.observability.metrics.catalog import Metric

_log = logging.getLogger("app.observability.metrics")
#: Holds what processes that are gone have counted.
_DEAD = "dead"
_FIRST_SIZE = 2**16  # bytes of a file


class Number:
    """One number. Not safe to change from two threads at once: the meter holds a lock."""

    __slots__ = ("_place", "_view")

    def __init__(self, view: Any, place: int) -> None:
        self._view, self._place = view, place

    def add(self, amount: float) -> None:
        self._view[self._place] += amount

    def set(self, value: float) -> None:
        self._view[self._place] = value


class Distribution:
    """A histogram: how many values fell into each bucket, and their sum."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float], counts: Sequence[Number], total: Number) -> None:
        self._bounds, self._counts, self._sum = bounds, counts, total

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)].add(1)
        self._sum.add(value)


class _File(MmapedDict):
    def __init__(self, path: Path) -> None:
        with path.open("a+b") as made:
            if not os.fstat(made.fileno()).st_size:
                os.posix_fallocate(made.fileno(), 0, _FIRST_SIZE)
        super().__init__(str(path))  # type: ignore[no-untyped-call]  # without types
        weakref.finalize(self, self._f.close)

    def number(self, key: str) -> Number:
        # Room is asked for beforehand: writing to a mapped page that a full disk cannot give is no
        # error, but the end of the process.
        if self._used + len(key.encode()) + 32 > self._capacity:
            os.posix_fallocate(self._f.fileno(), 0, 2 * self._capacity)
        self.read_value(key)  # type: ignore[no-untyped-call]  # which makes it
        # A file that grows is mapped anew; numbers in the old mapping are still the same pages.
        return Number(memoryview(self._m).cast("d"), self._positions[key] // 8)


class Files:
    """The numbers of this process, in ``directory``; where there is none, in one of its own."""

    def __init__(self, directory: Path | None = None) -> None:
        if directory is None:
            directory = Path(tempfile.mkdtemp(prefix="embeddings-proxy-metrics-"))
            weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
        self.directory = directory
        self._files: dict[str, _File] = {}
        for stale in directory.glob(f"gauge_*_{os.getpid()}-*.db"):
            stale.unlink(missing_ok=True)  # of a process that died unseen and had this pid

    def number(self, metric: Metric, *labels: str) -> Number:
        """A counter or a gauge, 0 unless this process has it already."""
        kind = f"gauge_{metric.mode}" if metric.kind == "gauge" else metric.kind
        return self._number(kind, metric, metric.samples[0], metric.labels, labels)

    def distribution(self, metric: Metric, *labels: str) -> Distribution:
        """A histogram."""
        name, _, total = metric.samples
        counts = [
            self._number(
                "histogram",
                metric,
                name,
                (*metric.labels, "le"),
                (*labels, floatToGoString(bound)),
            )
            for bound in (*metric.buckets, float("inf"))
        ]
        whole = self._number("histogram", metric, total, metric.labels, labels)
        return Distribution(metric.buckets, counts, whole)

    def _number(
        self, kind: str, metric: Metric, sample: str, names: Sequence[str], labels: Sequence[str]
    ) -> Number:
        key = mmap_key(metric.name, sample, list(names), list(labels), metric.help)
        try:
            if kind not in self._files:
                # Its own for good: a later process may have the same pid.
                name = f"{kind}_{os.getpid()}-{time.time_ns()}.db"
                self._files[kind] = _File(self.directory / name)
            return self._files[kind].number(key)
        except OSError as error:
            _log.warning("a metric is not kept: %s", error.strerror)
            return Number([0.0], 0)

    def collect(self) -> list[Family]:
        """The numbers of all processes, those that are gone included."""
        with _locked(self.directory):
            _fold(self.directory)
            return list(MultiProcessCollector.merge(_not_empty(self.directory, "*.db")))


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One reader at a time, since it also folds. For milliseconds, and once a scrape."""
    with (directory / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _not_empty(directory: Path, pattern: str) -> list[str]:
    """Files that hold something: a process may have died just as it had opened one."""
    found = []
    for path in directory.glob(pattern):
        with suppress(FileNotFoundError):  # the master has just buried it
            if path.stat().st_size:
                found.append(str(path))
    return found


def _is_dead(path: Path) -> bool:
    """Whether the process that wrote the file is gone. Not, for sure, where its pid is in use."""
    pid = path.stem.rpartition("_")[2].partition("-")[0]
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _fold(directory: Path) -> None:
    """Add the files of dead processes up in one, else each worker that ever died leaves some."""
    for kind in ("counter", "histogram"):
        dead = [path for path in directory.glob(f"{kind}_*-*.db") if _is_dead(path)]
        if not dead:
            continue
        sums = directory / f"{kind}_{_DEAD}.db"
        sources = [str(path) for path in (*dead, sums) if path.exists() and path.stat().st_size]
        fresh = directory / f"{kind}.folding"
        fresh.unlink(missing_ok=True)
        file = _File(fresh)
        for family in MultiProcessCollector.merge(sources, accumulate=False):
            for sample in family.samples:
                names, labels = list(sample.labels), list(sample.labels.values())
                key = mmap_key(family.name, sample.name, names, labels, family.documentation)
                file.number(key).set(sample.value)
        fresh.rename(sums)
        for path in dead:
            path.unlink()
