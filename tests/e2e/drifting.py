"""An installation whose providers replace their model, and callers that notice."""

import itertools
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from tests.support import openai_style, settings
from tests.support.server import FOREIGN, ROOT, Proxy
from tests.support.upstream import Upstream
from tests.support.vectors import decode, vector

WIDTH = settings.WIDTH
NEW_MODEL = "another model"
fresh = (f"text number {i}" for i in itertools.count())


def drifted(exchange):
    """Answer as the provider does after it has replaced its model."""
    body = {**exchange.call.body, "task": NEW_MODEL}
    exchange.reply(200, openai_style.answer(body, WIDTH, strict=True))


def model_of(answer, text):
    """Which model embedded a text: "old" or "new"."""
    (embedding,) = answer.embeddings
    found = decode(embedding)
    old, new = vector(text, WIDTH), vector(text, WIDTH, NEW_MODEL)
    return (
        "old"
        if np.allclose(found, old, atol=1e-5)
        else "new"
        if np.allclose(found, new, atol=1e-5)
        else "none"
    )


@dataclass
class Installation:
    """Two providers "a" and "b" of the model "m", and the proxies that have both."""

    directory: object
    a: Upstream
    b: Upstream
    stack: ExitStack
    others: dict = field(default_factory=dict)

    def __post_init__(self):
        providers = {"a": settings.provider(self.a), "b": settings.provider(self.b)}
        deployments = [{"provider": name, "model": "upstream-model"} for name in "ab"]
        models = {"m": {"dimensions": WIDTH, "deployments": deployments}}
        keys = {"tests": settings.key(settings.KEY, "*") | {"admin": True}}
        self.path = settings.settings_file(self.directory, providers, models, keys, **self.others)

    def start(self, **options):
        directory = self.directory / f"proxy-{len(list(self.directory.iterdir()))}"
        directory.mkdir()
        return self.stack.enter_context(Proxy(directory, self.path, **options))

    def record(self):
        """`check --record`, with the calls forgotten that it makes."""
        environment = {n: v for n, v in os.environ.items() if not n.startswith(FOREIGN)}
        done = subprocess.run(
            [sys.executable, "-m", "flask", "--app", "wsgi", "check", "--record"],
            cwd=ROOT,
            env={**environment, "PROXY_SETTINGS": str(self.path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        for upstream in (self.a, self.b):
            upstream.calls.clear()


class Load:
    """Callers that ask one text at a time, each a new one, until `stop`."""

    def __init__(self, proxy, callers=4):
        self.answers, self._stopping = [], threading.Event()  # (start, end, status, model, text)
        self._threads = [
            threading.Thread(target=self._ask, args=(proxy,), daemon=True) for _ in range(callers)
        ]
        for thread in self._threads:
            thread.start()

    def _ask(self, proxy):
        client = proxy.client()
        while not self._stopping.is_set():
            text, start = next(fresh), time.monotonic()
            answer = client.embed("m", text, caching=True)
            model = model_of(answer, text) if answer.status == 200 else answer.text
            self.answers.append((start, time.monotonic(), answer.status, model, text))
            time.sleep(0.005)

    def stop(self):
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)
        return self.answers
