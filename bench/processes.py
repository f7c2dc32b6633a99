"""Child processes: start, wait for answers, read processor time and memory, stop."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
_PRINTED_URL = re.compile(r"^http://127\.0\.0\.1:(\d+)/", re.MULTILINE)


def free_port() -> int:
    """Return a port on which no process listens."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


class Server:
    """A server process with its children; its output goes to a file."""

    def __init__(
        self, command: Sequence[object], port: int, log: Path, env: dict[str, str] | None = None
    ) -> None:
        self.port, self.log = port, log
        self.launched = time.perf_counter()
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def await_port(self, seconds: float = 60.0) -> None:
        """Return once the port accepts connections; raise with the log's end if it never does."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.005)
            else:
                return
        raise RuntimeError(f"{self.log.name} did not start: {self.log.read_text()[-600:]}")

    def stop(self) -> None:
        """End the process and all its children (it has its own session)."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def tree(self) -> list[int]:
        """Return the process and all its descendants, parents first."""
        found = [self._process.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                found += [int(child) for child in task.read_text().split()]
        return found

    def cpu(self) -> float:
        """Return the seconds of processor time of the tree, user and system."""
        return sum(map(_cpu, self.tree()))

    def worker(self) -> int:
        """Return the serving process: the first with a parent in the tree, else the only one."""
        return self.tree()[:2][-1]


class ServerOfUnknownPort(Server):
    """A server that chooses its port itself, and prints its URL on a line."""

    def __init__(
        self, command: Sequence[object], log: Path, env: dict[str, str] | None = None
    ) -> None:
        super().__init__(command, 0, log, env)

    def await_port(self, seconds: float = 60.0) -> None:
        """Return once the printed port accepts connections; raise as `Server` does."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end and self._process.poll() is None and not self.port:
            if printed := _PRINTED_URL.search(self.log.read_text()):
                self.port = int(printed[1])
            else:
                time.sleep(0.005)
        super().await_port(end - time.perf_counter())


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory(pid: int) -> float:
    """Return this process's share of memory in bytes (PSS)."""
    return _kilobytes(f"/proc/{pid}/smaps_rollup", "Pss:")


def peak(pid: int) -> float:
    """Return the peak of resident bytes since `forget_peak`."""
    return _kilobytes(f"/proc/{pid}/status", "VmHWM:")


def resident(pid: int) -> float:
    """Return the resident bytes now."""
    return _kilobytes(f"/proc/{pid}/status", "VmRSS:")


def forget_peak(pid: int) -> None:
    """Let `peak` count from here (Linux: proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _kilobytes(path: str, name: str) -> float:
    for line in Path(path).read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024.0
    return float("nan")
