"""`app.server.heap`: freed memory of a large answer is reused."""

import os
import platform
import subprocess
import sys

import pytest

from app.server import heap
from tests.support.server import ROOT

PROGRAM = """
import resource
from app.server import heap

{first}
def answer():
    pieces = [bytes(2**20) for _ in range(4)]
    return b"".join(pieces)

for _ in range(3):
    answer()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    answer()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(first: str) -> int:
    """Return the page faults of a process that builds ten answers of 4 MB."""
    command = [sys.executable, "-c", PROGRAM.format(first=first)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_freed_memory_is_reused():
    assert page_faults("heap.keep_freed()") < 1000 < page_faults("")


def test_without_glibc_nothing_is_changed(monkeypatch):
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda _: object())
    heap.keep_freed()
