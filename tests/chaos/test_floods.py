"""Too much of everything: connections, descriptors, bytes."""

import os
import resource
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.bad_http import framed
from tests.support.server import eventually

IDLE = 10_000
GIBIBYTE = 2**30
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident(pids) -> float:
    """MiB of these processes."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * PAGE / 2**20


def of_nginx(running) -> list[int]:
    master = running.nginx.process.pid
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return [int(pid) for pid in children]


def test_ten_thousand_idle_connections(stack, note):
    """Half have sent nothing, half the beginning of a head; the others are served meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < IDLE + 1000:
        pytest.skip(f"only {hard} descriptors a process")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    running = stack()
    with ExitStack() as cleanup:
        before = resident(of_nginx(running)), resident(running.proxy.workers())
        for i in range(IDLE):
            idle = cleanup.enter_context(
                socket.create_connection(("127.0.0.1", running.nginx.port))
            )
            if i % 2:
                idle.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\n")
        with running.callers(8) as load:
            eventually(lambda: load.answered > 1000, 60)
        after = resident(of_nginx(running)), resident(running.proxy.workers())
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    books = running.books.compare()
    note(
        idle=IDLE,
        nginx_mib=[round(before[0]), round(after[0])],
        workers_mib=[round(before[1]), round(after[1])],
        **load.seen(),
        **books.noted(),
    )
    assert load.lost == []
    assert books.differences() == {}
    assert load.slowest < 2
    assert after[1] < before[1] + 30


def test_a_worker_without_descriptors(stack, note):
    """It may open 20 more, and 200 clients come without nginx: they wait, none is hurt."""
    running = stack(workers=1)
    (worker,) = running.proxy.workers()
    used = len(os.listdir(f"/proc/{worker}/fd"))
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (used + 20, used + 20))
    with ExitStack() as cleanup:
        hogs = [
            cleanup.enter_context(socket.create_connection(("127.0.0.1", running.proxy.port)))
            for _ in range(200)
        ]
        time.sleep(2)
        full = len(os.listdir(f"/proc/{worker}/fd"))
    start = time.monotonic()
    with running.callers(4) as load:
        eventually(lambda: load.answered > 200, 60)
    books = running.books.compare()
    note(
        limit=used + 20, open_at_worst=full, hogs=len(hogs),
        served_again_after=round(time.monotonic() - start, 1), **load.seen(), **books.noted(),
    )  # fmt: skip
    assert running.proxy.workers() == [worker]  # it has not died of it
    assert load.lost == []
    assert books.differences() == {}


@pytest.mark.parametrize("through", ["nginx", "the proxy alone"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_of_a_gibibyte(stack, note, through, framing):
    """Refused by its length before it is sent, or at the limit; it is never held in memory."""
    running = stack(workers=1)
    port = running.nginx.port if through == "nginx" else running.proxy.port
    peak, over = [0.0], threading.Event()
    pids = of_nginx(running) + running.proxy.workers()
    before = resident(pids)

    def watch() -> None:
        while not over.wait(0.02):
            peak[0] = max(peak[0], resident(pids))

    watcher = threading.Thread(target=watch)
    watcher.start()
    sent, piece = 0, b"x" * 2**20
    line = f"Content-Length: {GIBIBYTE}" if framing == "length" else "Transfer-Encoding: chunked"
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(framed("Content-Type: application/json", line, body=b""))
        try:
            while sent < GIBIBYTE:
                data = piece if framing == "length" else b"%x\r\n%s\r\n" % (len(piece), piece)
                connection.sendall(data)
                sent += len(piece)
        except OSError:
            pass  # that was enough
        try:
            answer = connection.recv(2**16)
        except ConnectionResetError:  # it had gone on sending after the answer
            answer = b""
    over.set()
    watcher.join()
    # A refusal by the proxy is a row; nginx's own is none, and neither is of a caller with a key.
    books = running.books.compare()
    note(through=through, framing=framing, taken_mib=sent >> 20, answer=answer[:12].decode(),
         grew_mib=round(peak[0] - before), **books.noted())  # fmt: skip
    if through != "nginx":  # which reads on and throws away, for some seconds, to be heard
        assert sent < GIBIBYTE / 4
    assert answer[9:12] in (b"413", b"")
    assert peak[0] - before < 150
    assert (books.billed, books.unbilled) == (0, 0)
    assert running.nginx.client().get("/health/live").status == 200
