"""Two workers share connections that open at once, and none waits for a worker that is stuck."""

import json
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import pytest

from tests.e2e.plain import LINE, Plain, connect, read_answer
from tests.support.server import eventually

REQUEST = LINE.replace(b"/x", b"/sleep/0.01") + b"\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plain]:
    with Plain(tmp_path_factory.mktemp("plain"), "gevent", workers=2) as server:
        eventually(lambda: len(pids_of(server, 2)) == 2, 60, "both workers serve")
        yield server


def pids_of(server: Plain, connections: int) -> Counter[int]:
    """Open connections, and return the workers that answer one request on each."""
    with ExitStack() as stack:
        opened = [stack.enter_context(connect(server)) for _ in range(connections)]
        for connection in opened:
            connection.sendall(REQUEST)
        return Counter(map(pid_of_answer, opened))


def ask(connection: socket.socket) -> int:
    """Return the worker that answers a request on a connection."""
    connection.sendall(REQUEST)
    return pid_of_answer(connection)


def pid_of_answer(connection: socket.socket) -> int:
    pid: int = json.loads(read_answer(connection).partition(b"\r\n\r\n")[2])["pid"]
    return pid


def test_connections_are_shared_evenly(server: Plain):
    """The median of some tries counts: a worker without a processor for a while is left out."""
    connections, tries = 400, list[Counter[int]]()
    for _ in range(9):
        tries.append(pids_of(server, connections))
        assert tries[-1].total() == connections
    fewest = [min(pids.values()) if len(pids) == 2 else 0 for pids in tries]
    assert median(fewest) >= 0.45 * connections, tries


def test_connections_do_not_wait_for_a_worker_that_is_stuck(server: Plain):
    stuck, other = server.workers()
    os.kill(stuck, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with ExitStack() as stack:
            opened = [stack.enter_context(connect(server)) for _ in range(100)]
            assert Counter(map(ask, opened)) == {other: 100}
        assert time.monotonic() - began < 20
    finally:
        os.kill(stuck, signal.SIGCONT)


def test_a_worker_that_replaces_a_dead_one_gets_the_next_connections(server: Plain):
    with ExitStack() as stack:
        for _ in range(40):
            ask(stack.enter_context(connect(server)))
        before = set(server.workers())
        os.kill(min(before), signal.SIGKILL)
        eventually(lambda: len(set(server.workers()) - before) == 1, 60, "another is started")
        (new,) = set(server.workers()) - before
        eventually(lambda: pids_of(server, 20)[new] >= 18, 60, "the new worker gets them")


def test_connections_to_a_listener_of_one_worker_are_not_left_to_others(tmp_path: Path):
    with Plain(tmp_path, "gevent", "--reuse-port", workers=2) as server, ExitStack() as stack:
        opened = [stack.enter_context(connect(server)) for _ in range(100)]
        assert Counter(map(ask, opened)).total() == 100
