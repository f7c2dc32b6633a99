"""A good provider in a process of its own, to be killed: ``python -m tests.dispatch.process PORT``.

Prints its port when it listens. Ends when its standard input does. With a second argument it counts
as providers do: before each answer it appends the tokens of the call to that file, a line each.
"""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support import settings
from tests.support.server import ROOT
from tests.support.upstream import Behaviour, Call, Upstream
from tests.support.vectors import count_tokens


class Fixed(Upstream):
    """On a port that is given, so that it can come back where it was."""

    def __init__(self, port: int = 0, counts: Path | None = None) -> None:
        super().__init__(settings.WIDTH)
        self.port = port
        # Appended to without a buffer: what was counted outlives a process that is killed.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._counts = os.open(counts, flags, 0o600) if counts is not None else None

    def __enter__(self) -> "Fixed":
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
        self.port = self._listener.getsockname()[1]
        self.over, self._end = socket.socketpair()
        self._start(self._accept)
        return self

    def _next(self, call: Call) -> Behaviour:
        if self._counts is not None:
            os.write(self._counts, b"%d\n" % sum(map(count_tokens, call.items)))
            return self._default  # and the call is not remembered: there may be a million
        return super()._next(call)


@contextlib.contextmanager
def provider_process(port: int, counts: Path | None = None) -> Iterator[subprocess.Popen]:
    """A process that serves at this port until it is killed or the block ends."""
    arguments = [str(port)] if counts is None else [str(port), str(counts)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.dispatch.process", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip(), "the provider did not start"
            yield process
        finally:
            process.kill()


if __name__ == "__main__":
    port, *counts = sys.argv[1:]
    with Fixed(int(port), Path(counts[0]) if counts else None) as upstream:
        print(upstream.port, flush=True)
        sys.stdin.read()
