"""A worker in a thread of this process, and what clients send to it."""

import errno
import io
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import gevent
import gevent.socket
from gunicorn.config import Config
from gunicorn.glogging import Logger

from app import server as serving
from app.exchange import WAITED_S


def plain(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    path = environ["PATH_INFO"]
    if path == "/crash":
        raise RuntimeError("a bug")
    if path == "/gone":
        raise ConnectionResetError
    if path == "/odd":
        raise OSError(errno.EIO, "no socket's fault")
    if path == "/client":
        start_response("200 OK", [("Content-Length", str(len(environ["REMOTE_ADDR"])))])
        return [environ["REMOTE_ADDR"].encode()]
    if path == "/waited":
        waited = f"{environ.get(WAITED_S, 0.0):.2f}".encode()
        start_response("200 OK", [("Content-Length", str(len(waited)))])
        return [waited]
    if path == "/complain":
        environ["wsgi.errors"].write("a complaint\n")
    if path == "/busy":
        end = time.monotonic() + 0.002
        while time.monotonic() < end:
            pass
    if path != "/early":
        environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


class Running:
    """A running worker in a thread of this process."""

    def __init__(self, worker_class: str, *, stopped: bool = False, **settings: Any) -> None:
        self.stopped = stopped
        self.on_request: Callable[[str], object] = lambda path: None  # at its start
        # A request for /slow has begun; it may end.
        self.is_slow, self.may_end = threading.Event(), threading.Event()
        self.config = Config()
        for name, value in {"keepalive": 5, "threads": 4, "accesslog": None, **settings}.items():
            self.config.set(name, value)
        self.log_lines = io.StringIO()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.worker_class = worker_class
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        assert self.ready.wait(20)

    def _run(self) -> None:
        log = Logger(self.config)
        log.error_log.handlers = [logging.StreamHandler(self.log_lines)]
        app = type("App", (), {"wsgi": lambda _: self._answer})()
        arguments = (1, os.getppid(), [self.listener], app, 30, self.config, log)
        if self.worker_class == "gevent":
            self.worker = worker = serving.GeventWorker(*arguments)
            worker.sockets = [gevent.socket.socket(fileno=self.listener.detach())]
        else:
            import selectors

            self.worker = worker = serving.ThreadWorker(*arguments)
            self.listener.setblocking(False)
            worker.tpool, worker.poller = worker.get_thread_pool(), selectors.DefaultSelector()
            worker.method_queue.init()
        worker.load_wsgi()
        if self.stopped:
            worker.handle_exit(15, None)
        self.ready.set()
        worker.run()
        worker.tmp.close()
        if self.worker_class == "gevent":
            gevent.wait(
                timeout=5
            )  # a real worker's process ends with it; here sockets must be closed
            gevent.get_hub().destroy(destroy_loop=True)

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        self.on_request(environ["PATH_INFO"])
        if environ["PATH_INFO"] == "/slow":
            self.is_slow.set()
            sleep = gevent.sleep if self.worker_class == "gevent" else time.sleep
            while not self.may_end.is_set():
                sleep(0.01)
        return plain(environ, start_response)

    def stop(self) -> None:
        self.worker.handle_exit(15, None)
        self.may_end.set()
        self.thread.join(20)
        assert not self.thread.is_alive()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 20)

    def ask(self, data: bytes) -> bytes:
        with self.connect() as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return everything(connection)


def everything(connection: socket.socket) -> bytes:
    pieces = []
    while piece := connection.recv(2**16):
        pieces.append(piece)
    return b"".join(pieces)


def get(path: bytes, *lines: bytes) -> bytes:
    return b"\r\n".join([b"GET " + path + b" HTTP/1.1", b"Host: x", *lines, b"", b""])
