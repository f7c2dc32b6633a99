"""Servers on loopback that answer no Redis, or bad Redis."""

import contextlib
import socket
import threading
import time
from urllib.parse import urlsplit

from tests.support import stalls


@contextlib.contextmanager
def talking(talk):
    """Run a server on a free port of localhost; ``talk`` gets each connection, in a thread."""
    threads = []

    def accept():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
                threads[-1].start()

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            talk(connection)

    with socket.create_server(("localhost", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    for thread in threads:
        thread.join(2)


def silent(connection):
    """Read, and never answer."""
    while connection.recv(1000):
        pass


def drips(connection):
    """Answer byte by byte without end, each within any read timeout."""
    connection.recv(1000)
    for byte in b"+PONG" + b"!" * 1000:
        connection.sendall(bytes([byte]))
        time.sleep(0.01)


class DripsOnDemand:
    """Answers each command with +PONG, and byte by byte once `is_dripping`."""

    def __init__(self):
        self.is_dripping = False
        self.connections = 0
        self.closed = 0

    def __call__(self, connection):
        self.connections += 1
        try:
            while connection.recv(1000):
                if self.is_dripping:
                    drips_for_ever(connection)
                connection.sendall(b"+PONG\r\n")
        finally:
            self.closed += 1


def drips_for_ever(connection):
    """Answer byte by byte until the other side closes."""
    while True:
        connection.sendall(b"!")
        time.sleep(0.01)


@contextlib.contextmanager
def black_hole():
    """Return a port of loopback on which no connection is completed."""
    with stalls.black_hole() as url:
        yield urlsplit(url).port


class SlowRelay:
    """A TCP relay in front of a server; it forwards answers at ``bytes_per_s`` in total."""

    def __init__(self, port, bytes_per_s):
        self.bytes_per_s = bytes_per_s
        self.connections = 0
        self.relayed = 0
        self._to = ("127.0.0.1", port)
        self._free_at = 0.0
        self._lock = threading.Lock()

    def __call__(self, connection):
        """``talk`` of `talking`."""
        self.connections += 1
        with socket.create_connection(self._to) as server:
            for sock in (server, connection):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            there = threading.Thread(target=self._copy, args=(connection, server), daemon=True)
            there.start()
            self._copy(server, connection, slowly=True)
        there.join()

    def _copy(self, source, target, slowly=False):
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                if slowly:
                    self._pass(len(data))
                target.sendall(data)
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _pass(self, size):
        with self._lock:
            self.relayed += size
            self._free_at = max(self._free_at, time.monotonic()) + size / self.bytes_per_s
            wait = self._free_at - time.monotonic()
        if wait > 0.001:
            time.sleep(wait)
