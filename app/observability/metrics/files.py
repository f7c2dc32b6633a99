"""Writes a process's numbers to files of prometheus_client's multiprocess mode.

prometheus_client writes a value with a lock, a look-up and two conversions: 1 µs, or 2 µs for a
histogram, and twice that in a busy worker. Here a number is an index into a memory-mapped file,
seen as an array of doubles: adding to it takes 0.1 µs. The library defines the layout of the files
(``mmap_dict.py``: a key, then its value at a multiple of eight bytes) and reads them.
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
#: In the name of the file with the sums of ended processes.
_DEAD = "dead"
INITIAL_FILE_BYTES = 2**16


class Number:
    """One number in a file. Changes need the meter's lock: they are not thread-safe."""

    __slots__ = ("_place", "_view")

    def __init__(self, view: Any, place: int) -> None:
        self._view, self._place = view, place

    def add(self, amount: float) -> None:
        self._view[self._place] += amount

    def set(self, value: float) -> None:
        self._view[self._place] = value


class Distribution:
    """A histogram: the number of values in each bucket, and the sum of all values.

    ``places`` are those of the buckets, then that of the sum. Changes need the meter's lock.
    """

    __slots__ = ("_bounds", "_places", "_view")

    def __init__(self, bounds: Sequence[float], view: Any, places: Sequence[int]) -> None:
        self._bounds, self._view, self._places = bounds, view, places

    def observe(self, value: float) -> None:
        # Not by `Number.add`, whose two calls would take longer than the rest.
        view, places = self._view, self._places
        view[places[bisect_left(self._bounds, value)]] += 1
        view[places[-1]] += value


class _File(MmapedDict):
    def __init__(self, path: Path) -> None:
        with path.open("a+b") as made:
            if not os.fstat(made.fileno()).st_size:
                os.posix_fallocate(made.fileno(), 0, INITIAL_FILE_BYTES)
        super().__init__(str(path))  # type: ignore[no-untyped-call]  # without types
        weakref.finalize(self, self._f.close)

    def place(self, key: str) -> int:
        """Return the index of a number among the doubles of the file; create it with 0."""
        # Allocate first: on a full disk, a write to a mapped page without a block kills the process
        # (SIGBUS) and raises nothing.
        if self._used + len(key.encode()) + 32 > self._capacity:
            os.posix_fallocate(self._f.fileno(), 0, 2 * self._capacity)
        self.read_value(key)  # type: ignore[no-untyped-call]  # creates it
        place: int = self._positions[key] // 8
        return place

    def view(self) -> Any:
        """Return the file as doubles, all numbers created so far among them.

        A file that grows is mapped again. Earlier views share its pages.
        """
        return memoryview(self._m).cast("d")


class Files:
    """The numbers of this process, in ``directory`` or in a temporary directory."""

    def __init__(self, directory: Path | None = None) -> None:
        if directory is None:
            directory = Path(tempfile.mkdtemp(prefix="embeddings-proxy-metrics-"))
            weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
        self.directory = directory
        self._files: dict[str, _File] = {}
        for stale in directory.glob(f"gauge_*_{os.getpid()}-*.db"):
            stale.unlink(missing_ok=True)  # of an ended process that had this pid

    def number(self, metric: Metric, *labels: str) -> Number:
        """Return a counter or a gauge, created with 0 at first use."""
        kind = f"gauge_{metric.mode}" if metric.kind == "gauge" else metric.kind
        view, (place,) = self._find(kind, [_key(metric, metric.samples[0], metric.labels, labels)])
        return Number(view, place)

    def distribution(self, metric: Metric, *labels: str) -> Distribution:
        """Return a histogram, created empty at first use."""
        name, _, total = metric.samples
        bounds = map(floatToGoString, (*metric.buckets, float("inf")))
        names = (*metric.labels, "le")
        keys = [_key(metric, name, names, (*labels, bound)) for bound in bounds]
        keys.append(_key(metric, total, metric.labels, labels))
        return Distribution(metric.buckets, *self._find("histogram", keys))

    def _find(self, kind: str, keys: Sequence[str]) -> tuple[Any, list[int]]:
        """Return the doubles of a file, and the places of the numbers with these keys."""
        try:
            if kind not in self._files:
                # Unique: a later process may have the same pid.
                name = f"{kind}_{os.getpid()}-{time.time_ns()}.db"
                self._files[kind] = _File(self.directory / name)
            file = self._files[kind]
            places = [file.place(key) for key in keys]
            return file.view(), places
        except OSError as error:
            _log.warning("a metric is not kept: %s", error.strerror)
            return [0.0] * len(keys), list(range(len(keys)))

    def collect(self) -> list[Family]:
        """Return the numbers of all processes, ended ones included."""
        with _locked(self.directory):
            _merge_ended(self.directory)
            return list(MultiProcessCollector.merge(_not_empty(self.directory, "*.db")))


def _key(metric: Metric, sample: str, names: Sequence[str], labels: Sequence[str]) -> str:
    key: str = mmap_key(metric.name, sample, list(names), list(labels), metric.help)
    return key


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Lock the directory for one reader, which also merges files, for some milliseconds."""
    with (directory / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _not_empty(directory: Path, pattern: str) -> list[str]:
    """Return the files that are not empty: a process may have ended right after it opened one."""
    found = []
    for path in directory.glob(pattern):
        with suppress(FileNotFoundError):  # the master has just removed it
            if path.stat().st_size:
                found.append(str(path))
    return found


def _is_dead(path: Path) -> bool:
    """Return whether the process that wrote the file has ended; False if its pid is in use."""
    pid = path.stem.rpartition("_")[2].partition("-")[0]
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _merge_ended(directory: Path) -> None:
    """Merge the files of ended processes into one, so that their number stays bounded."""
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
                place = file.place(key)
                file.view()[place] = sample.value
        fresh.rename(sums)
        for path in dead:
            path.unlink()
