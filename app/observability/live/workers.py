"""Questions of one worker to all workers of a server, over Unix sockets.

Each worker listens at a socket in the private directory that the workers of a server share, and
answers a question of JSON with JSON. A message is its length in four bytes, then its text. A worker
that does not answer in time is left out. Threads and greenlets alike run this.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import orjson

_log = logging.getLogger("app.observability.live")

PREFIX, SUFFIX = "live-", ".sock"
ANSWER_TIMEOUT_S = 0.25  # of all workers together, which answer side by side
#: Of the worker that answers, for one question: it answers one at a time.
QUESTION_TIMEOUT_S = 1.0
MAX_QUESTION_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 16 * 2**20
MAX_WORKERS_ASKED = 256
BACKLOG = 64
ACCEPT_PAUSE_S = 1.0  # after an error, such as no free file descriptor

Answer = Callable[[dict[str, Any]], Any]


class Answers(NamedTuple):
    """The answers of all workers by pid, and the pids of those that gave none in time."""

    by_worker: dict[int, Any]
    silent: list[int]


class Workers:
    """The workers of this server; ``directory`` None: this process is the only one.

    ``answer`` returns this worker's answer to a question.
    """

    def __init__(self, directory: Path | None, answer: Answer) -> None:
        self._directory = directory
        self._answer = answer
        self._listener: socket.socket | None = None
        self._is_stopping = False

    def start(self) -> None:
        """Listen for questions, in a thread of its own. Without it, the others miss this worker."""
        if self._directory is None or self._listener is not None:
            return
        path = self._path(os.getpid())
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.unlink(missing_ok=True)  # of an ended process that had this pid
            listener.bind(str(path))
            listener.listen(BACKLOG)
        except OSError as error:  # the path may be too long for a socket, or the directory be gone
            listener.close()
            _log.warning("the console of other workers will not see this one: %s", error)
            return
        self._listener = listener
        threading.Thread(target=self._serve, args=(listener,), name="live", daemon=True).start()

    def stop(self) -> None:
        """Answer no more questions."""
        listener, self._listener, self._is_stopping = self._listener, None, True
        if listener is not None:
            self._path(os.getpid()).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # ends `accept`, which `close` would not
            listener.close()

    def ask(self, question: dict[str, Any], timeout_s: float = ANSWER_TIMEOUT_S) -> Answers:
        """Return the answers of all workers, this one included, within ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        asked: dict[int, socket.socket] = {}
        found, silent = dict[int, Any](), list[int]()
        try:
            for pid in self._others():
                try:
                    asked[pid] = self._send(pid, question, deadline)
                except (FileNotFoundError, ConnectionRefusedError):
                    continue  # it has ended
                except OSError:
                    silent.append(pid)
            found[os.getpid()] = self._answer(question)  # while the others make theirs
            for pid, connection in asked.items():
                try:
                    found[pid] = orjson.loads(_receive(connection, MAX_ANSWER_BYTES, deadline))
                except (OSError, ValueError):
                    silent.append(pid)
        finally:
            for connection in asked.values():
                connection.close()
        return Answers(found, silent)

    def _path(self, pid: int) -> Path:
        assert self._directory is not None  # noqa: S101 - for mypy
        return self._directory / f"{PREFIX}{pid}{SUFFIX}"

    def _others(self) -> list[int]:
        """Return the pids of the other workers that have a socket."""
        if self._directory is None:
            return []
        names = (path.name for path in self._directory.glob(f"{PREFIX}*{SUFFIX}"))
        pids = (name.removeprefix(PREFIX).removesuffix(SUFFIX) for name in names)
        others = sorted({int(pid) for pid in pids if pid.isdecimal()} - {os.getpid()})
        return others[:MAX_WORKERS_ASKED]

    def _send(self, pid: int, question: dict[str, Any], deadline: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            connection.connect(str(self._path(pid)))
            _send(connection, orjson.dumps(question))
        except BaseException:
            connection.close()
            raise
        return connection

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError as error:
                if self._is_stopping:
                    return
                _log.warning("a question of another worker was not accepted: %s", error)
                time.sleep(ACCEPT_PAUSE_S)
                continue
            with connection:
                try:
                    self._serve_one(connection)
                except OSError:
                    pass  # the asking worker has left
                except Exception:
                    _log.exception("a question of another worker could not be answered")

    def _serve_one(self, connection: socket.socket) -> None:
        deadline = time.monotonic() + QUESTION_TIMEOUT_S
        question = orjson.loads(_receive(connection, MAX_QUESTION_BYTES, deadline))
        answer = orjson.dumps(self._answer(question))
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        _send(connection, answer)


def _send(connection: socket.socket, text: bytes) -> None:
    connection.sendall(struct.pack("!I", len(text)) + text)


def _receive(connection: socket.socket, max_bytes: int, deadline: float) -> bytes:
    """Return a message. Raises OSError at the deadline, and where it is cut or too long."""
    (size,) = struct.unpack("!I", _read(connection, 4, deadline))
    if size > max_bytes:
        raise OSError("a message is too long")
    return _read(connection, size, deadline)


def _read(connection: socket.socket, size: int, deadline: float) -> bytes:
    received = bytearray()
    while len(received) < size:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        data = connection.recv(min(size - len(received), 2**16))
        if not data:
            raise ConnectionResetError("the other worker has ended")
        received += data
    return bytes(received)
