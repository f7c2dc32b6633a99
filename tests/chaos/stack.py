"""nginx, the proxy with all that can be configured, and providers, in processes of their own."""

import contextlib
import os
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from tests.chaos.books import Books
from tests.chaos.callers import MODEL, Callers
from tests.chaos.services import LIMITS, Services
from tests.dispatch.process import provider_process
from tests.e2e.nginx_front import Nginx
from tests.support import settings
from tests.support.server import Proxy, free_port
from tests.support.upstream import API_KEY

SECONDS = float(os.environ.get("CHAOS_SECONDS") or 60)


class Stack:
    """A context manager. ``providers`` is how many serve the model; the rest is `Proxy`'s.

    The ledger, with keys in its database, limits, the shared cache and an identity provider are
    on. ``url`` and ``spool`` are the ledger's; by default SQLite and a spool in the directory.
    ``file`` holds the settings; their text at the start is ``good``.
    """

    def __init__(
        self,
        directory: Path,
        *,
        workers: int = 2,
        providers: int = 1,
        url: str | None = None,
        spool: Path | None = None,
        **options: Any,
    ) -> None:
        self.directory, self.workers, self._options = directory, workers, options
        self.ports = [free_port() for _ in range(providers)]
        self.services = Services(directory, url, spool)
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as started:
            started.enter_context(self.services)
            self.providers = [started.enter_context(self.provider(i)) for i in range(self._number)]
            self.file = self._settings_file()
            self.good = self.file.read_text()
            proxy, front = self.directory / "proxy", self.directory / "nginx"
            proxy.mkdir()
            front.mkdir()
            self.proxy = started.enter_context(
                Proxy(proxy, self.file, workers=self.workers, **self._options)
            )
            self.nginx = started.enter_context(Nginx(front, self.proxy.port))
            counts = [self._counts(i) for i in range(self._number)]
            self.books = Books(self.services.url, self.services.spool, counts)
            self._cleanup = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    @property
    def _number(self) -> int:
        return len(self.ports)

    def _counts(self, index: int) -> Path:
        return self.directory / f"counts-{index}"

    def _settings_file(self) -> Path:
        made, model = _served_by(self.ports)
        keys = {"tests": settings.key(settings.KEY, "*") | {"admin": True} | LIMITS}
        services = self.services.overlay()
        return settings.settings_file(self.directory, made, {MODEL: model}, keys, **services)

    def provider(self, index: int) -> contextlib.AbstractContextManager[subprocess.Popen]:
        """Start a provider, again if it was killed; it goes on with its count of tokens."""
        return provider_process(self.ports[index], self._counts(index))

    def callers(self, number: int = 16, **fields: Any) -> Callers:
        secrets, statuses = self.services.secrets, self.books.statuses
        return Callers(self.nginx.port, number, secrets, statuses, **fields)


def _served_by(ports: list[int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the providers and of the model that all of them serve."""
    providers = {
        f"provider-{i}": settings.provider(f"http://127.0.0.1:{port}/v1") | {"api_key": API_KEY}
        for i, port in enumerate(ports)
    }
    deployments = [{"provider": name, "model": "upstream-model"} for name in providers]
    return providers, {"dimensions": settings.WIDTH, "deployments": deployments}
