"""A good provider in a process that tests kill: ``python -m tests.dispatch.process PORT``.

Prints its port when it listens. Ends when its standard input does.
"""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator

from tests.support import settings
from tests.support.server import ROOT
from tests.support.upstream import Upstream


class Fixed(Upstream):
    """An `Upstream` on a given port, so that it can be restarted there."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(settings.WIDTH)
        self.port = port

    def __enter__(self) -> "Fixed":
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
        self.port = self._listener.getsockname()[1]
        self.over, self._end = socket.socketpair()
        self._start(self._accept)
        return self


@contextlib.contextmanager
def provider_process(port: int) -> Iterator[subprocess.Popen]:
    """Run a provider at a port until it is killed or the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.dispatch.process", str(port)],
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
    with Fixed(int(sys.argv[1])) as upstream:
        print(upstream.port, flush=True)
        sys.stdin.read()
