"""The proxy, started as an operator starts it: gunicorn, deploy/gunicorn.conf.py, wsgi:app."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.support.client import Client
from tests.support.settings import KEY

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", "wsgi:app"]
STOPPED_WITHIN = 60  # seconds, with no request in flight
# Prefixes of variables of the developer, which a test must not depend on.
FOREIGN = ("OPENAI_", "ALPHANEURAL_", "PROXY_", "WEB_CONCURRENCY", "PORT", "WORKER_CLASS", "LOG_")


def free_port() -> int:
    """Return a port of the loopback address on which no process listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(condition: Callable[[], Any], seconds: float = 20, what: str = "") -> Any:
    """Wait until `condition` returns a true value, and return it; fail after some seconds."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {seconds} s: {what or condition}"
        time.sleep(0.01)
    return value


def at_once(ask: Callable[[], T], number: int = 16) -> list[T]:
    """Call it as often at the same time, so that each worker answers some; return the results.

    One after the other, a worker with fewer open connections would answer all.
    """
    with ThreadPoolExecutor(number) as pool:
        return [asked.result() for asked in [pool.submit(ask) for _ in range(number)]]


class Proxy:
    """A running proxy: a context manager. `directory` is for its output."""

    def __init__(
        self,
        directory: Path,
        settings: Path | None = None,
        *,
        worker_class: str | None = None,
        workers: int = 1,
        arguments: tuple[str, ...] = (),
        **environment: str,
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._stdout, self._stderr = directory / "stdout", directory / "stderr"
        self._command = [*COMMAND, "-b", f"127.0.0.1:{self.port}", *arguments]
        self._environment = {
            **{name: v for name, v in os.environ.items() if not name.startswith(FOREIGN)},
            "WEB_CONCURRENCY": str(workers),
            **({"WORKER_CLASS": worker_class} if worker_class else {}),
            **({"PROXY_SETTINGS": str(settings)} if settings else {}),
            **environment,
        }

    def client(self, key: str | None = KEY) -> Client:
        """Return a client with this key."""
        return Client("127.0.0.1", self.port, key)

    def __enter__(self) -> Self:
        self.launch()
        return self.wait_until_live()

    def launch(self) -> None:
        """Start the process."""
        with self._stdout.open("wb") as out, self._stderr.open("wb") as err:
            self.process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdout=out, stderr=err
            )

    def wait_until_live(self) -> Self:
        """Wait until it answers; kill it if it does not."""
        try:
            eventually(self._live, 60, "the proxy is live")
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Send SIGTERM; a proxy without requests must exit with status 0, and soon."""
        self.process.terminate()
        try:
            status = self.process.wait(STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            workers = self.workers()
            self.process.kill()
            self.process.wait()
            for pid in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"still there after {STOPPED_WITHIN} s\n{self.stderr()}") from None
        assert status == 0, f"exit status {status}\n{self.stderr()}"

    def _live(self) -> bool:
        assert self.process.poll() is None, f"the proxy did not start\n{self.stderr()}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.suppress(OSError), contextlib.closing(connection):
            connection.request("GET", "/health/live")
            return connection.getresponse().status == 200
        return False

    def workers(self) -> list[int]:
        """Return the pids of the worker processes."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in children]

    def in_flight(self) -> int:
        """Return how many requests it serves, besides the one that asks."""
        lines = self.client().get("/metrics").text.splitlines()
        (line,) = [line for line in lines if line.startswith("embeddings_proxy_in_flight ")]
        return round(float(line.split()[1])) - 1

    def stderr(self) -> str:
        """Return the standard error of the proxy so far."""
        return self._stderr.read_text()

    def stdout(self) -> str:
        """Return the standard output of the proxy so far."""
        return self._stdout.read_text()

    def log_lines(self) -> list[dict[str, Any]]:
        """Return the log so far, a dictionary for each line, which must be JSON."""
        lines = self.stdout().split("\n")[:-1]  # the last line is empty or incomplete
        return [json.loads(line) for line in lines]

    def log_line(self, request_id: str) -> dict[str, Any]:
        """Return the log line of a request, which may be written after its answer."""

        def matching() -> list[dict[str, Any]]:
            return [line for line in self.log_lines() if line.get("request_id") == request_id]

        (line,) = eventually(matching, what=f"a log line of {request_id}")
        return line
