"""nginx, the proxy and providers in processes of their own, and callers that check answers."""

import http.client
import itertools
import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from tests.dispatch.process import provider_process
from tests.e2e.plain import Load
from tests.e2e.test_nginx import Nginx
from tests.support import settings
from tests.support.server import Proxy, free_port
from tests.support.upstream import API_KEY
from tests.support.vectors import assert_answers

SECONDS = float(os.environ.get("CHAOS_SECONDS") or 60)
MODEL = "chaos"


class Stack:
    """A context manager. ``providers`` is how many serve the model; the rest is `Proxy`'s."""

    def __init__(
        self,
        directory: Path,
        *,
        workers: int = 2,
        providers: int = 1,
        overlay: dict[str, Any] | None = None,
        limits: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.directory, self.workers, self._options = directory, workers, options
        self.ports = [free_port() for _ in range(providers)]
        self._overlay, self._limits = overlay or {}, limits or {}
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as started:
            self.providers = [started.enter_context(provider_process(port)) for port in self.ports]
            made, model = _served_by(self.ports)
            key = settings.key(settings.KEY, "*") | {"admin": True} | self._limits
            keys = {"tests": key}
            path = settings.settings_file(
                self.directory, made, {MODEL: model}, keys, **self._overlay
            )
            proxy, front = self.directory / "proxy", self.directory / "nginx"
            proxy.mkdir()
            front.mkdir()
            self.proxy = started.enter_context(
                Proxy(proxy, path, workers=self.workers, **self._options)
            )
            self.nginx = started.enter_context(Nginx(front, self.proxy.port))
            self._cleanup = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def callers(self, number: int = 16, **fields: Any) -> "Callers":
        return Callers(self.nginx.port, number, **fields)


def _served_by(ports: list[int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the providers and of the model that all of them serve."""
    providers = {
        f"provider-{i}": settings.provider(f"http://127.0.0.1:{port}/v1") | {"api_key": API_KEY}
        for i, port in enumerate(ports)
    }
    deployments = [{"provider": name, "model": "upstream-model"} for name in providers]
    return providers, {"dimensions": settings.WIDTH, "deployments": deployments}


class Callers(Load):
    """A `Load` that checks embeddings: a wrong vector counts as lost.

    The clients do not retry.
    """

    def __init__(self, port: int, clients: int, pause: float = 0.0, **fields: Any) -> None:
        super().__init__(port, clients)
        self.fields = {"timeout": 20, **fields}
        self.slowest = 0.0
        self.pause = pause
        self.texts: Callable[[], str] = map("text {}".format, itertools.count()).__next__

    def _once(self, connection: http.client.HTTPConnection) -> bool:
        text = self.texts()
        body = json.dumps({"model": MODEL, "input": text, **self.fields}).encode()
        headers = {"Authorization": f"Bearer {settings.KEY}", "Content-Type": "application/json"}
        start = time.monotonic()
        try:
            connection.request("POST", "/v1/embeddings", body, headers)
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.lost.append(error)
            return False
        self.slowest = max(self.slowest, time.monotonic() - start)
        try:
            assert answer.status == 200
            assert_answers(json.loads(data), [text], settings.WIDTH)
            self.answered += 1
        except (AssertionError, ValueError, KeyError):
            self.lost.append((answer.status, data[:300]))
        if self.pause:
            time.sleep(self.pause)
        return not answer.will_close

    def seen(self) -> dict[str, Any]:
        """The numbers for a note."""
        kinds = [
            str(loss[0]) if isinstance(loss, tuple) else type(loss).__name__ for loss in self.lost
        ]
        return {
            "answered": self.answered,
            "lost": len(self.lost),
            "kinds": {kind: kinds.count(kind) for kind in set(kinds)},
            "slowest": round(self.slowest, 2),
        }
