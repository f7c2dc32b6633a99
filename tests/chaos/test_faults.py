"""Dependencies fail and recover under load: providers, cache, disk, clock."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.chaos.callers import TOKENS_OF_A_TEXT
from tests.chaos.stack import SECONDS, Stack
from tests.support.server import eventually


def test_no_request_is_lost_while_one_of_two_providers_fails(stack, note):
    """One provider is killed, then frozen, for two of every four seconds.

    A provider that is killed or silent has counted calls whose answers it did not give: each caller
    may have been in one of them.
    """
    running: Stack = stack(providers=2)
    flaps = 0
    with running.callers() as load:
        end = time.monotonic() + SECONDS / 2
        process = running.providers[0]
        while time.monotonic() < end:
            process.kill()
            process.wait()
            time.sleep(2)
            with running.provider(0) as process:
                time.sleep(2)
            flaps += 1
        other, end = running.providers[1], time.monotonic() + SECONDS / 2
        with running.provider(0):
            while time.monotonic() < end:
                other.send_signal(signal.SIGSTOP)
                time.sleep(2)
                other.send_signal(signal.SIGCONT)
                time.sleep(2)
                flaps += 1
    books = running.books.compare()
    note(flaps=flaps, **load.seen(), **books.noted())
    assert load.lost == []
    assert books.differences().keys() <= {"unbilled"}
    assert 0 <= books.unbilled <= flaps * load.clients * TOKENS_OF_A_TEXT


@pytest.mark.parametrize("name", ["cache", "limits"])
def test_a_valkey_flaps(stack, note, name):
    """Killed, frozen, empty again: it costs hits of the cache, never an answer or a row."""
    running: Stack = stack()
    valkey = getattr(running.services, name)
    flaps = 0
    with running.callers(caching=True) as load:
        texts = (f"text {i % 200}" for i in range(10**9))
        load.texts = texts.__next__
        end = time.monotonic() + SECONDS / 2
        while time.monotonic() < end:
            valkey.kill()
            time.sleep(1.5)
            valkey.start()
            time.sleep(1.5)
            valkey.freeze()
            time.sleep(1.5)
            valkey.thaw()
            time.sleep(1.5)
            flaps += 2
    books = running.books.compare()
    note(flaps=flaps, **load.seen(), **books.noted())
    assert load.lost == []
    assert books.differences() == {}
    assert load.slowest < 3


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(512))


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount a small tmpfs")
def test_no_request_is_lost_while_the_disk_of_the_ledger_is_full(stack, note, tmp_path):
    """Answers go on, and rows wait; with room, all of them are written."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=True)
    try:
        running = stack(url=f"sqlite:///{disk}/usage.db", spool=disk / "spool")
        filler = disk / "filler"
        with running.callers(8) as load:
            eventually(lambda: load.answered > 200, 20)
            fill(filler)
            full = load.answered
            time.sleep(min(SECONDS / 4, 15))
            during = load.answered - full
            filler.unlink()
            after = load.answered
            eventually(lambda: load.answered > after + 200, 20)
        books = running.books.compare()
        metrics = running.proxy.client().get("/metrics").text
        counters = [
            line for line in metrics.splitlines() if line.startswith("embeddings_proxy_ledger")
        ]
        note(during=during, ledger=counters, **load.seen(), **books.noted())
        assert during > 50
        assert load.lost == []
        assert books.differences() == {}
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


#: libfaketime would be better, but breaks time.sleep of Python 3.11 (clock_nanosleep with an
#: absolute time: EINVAL). So the wall clock is faked for Python code only, and not for C.
LIAR = """
import pathlib, time
_time, _offset = time.time, pathlib.Path({path!r})
time.time = lambda: _time() + float(_offset.read_text() or 0)
time.time_ns = lambda: int(time.time() * 1e9)
"""


def test_no_request_is_lost_while_the_wall_clock_jumps(stack, note, tmp_path):
    """The clock jumps by hours. Deadlines, ejections, limits and TTL use monotonic time."""
    clock = tmp_path / "clock"
    clock.write_text("0")
    (tmp_path / "sitecustomize.py").write_text(LIAR.format(path=str(clock)))
    running = stack(PYTHONPATH=str(tmp_path))
    jumps = 0
    with running.callers(caching=True) as load:
        texts = (f"text {i % 500}" for i in range(10**9))
        load.texts = texts.__next__
        end = time.monotonic() + SECONDS / 2
        while time.monotonic() < end:
            for offset in (3 * 3600, -3 * 3600, 400 * 86400, 0):
                clock.write_text(str(offset))
                time.sleep(2)
                jumps += 1
    years = {line["time"][:4] for line in running.proxy.log_lines()}
    books = running.books.compare()
    note(jumps=jumps, years=sorted(years), **load.seen(), **books.noted())
    assert len(years) > 1  # the fake clock was used
    assert load.lost == []
    assert books.differences() == {}
    assert load.slowest < 5
