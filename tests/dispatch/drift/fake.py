"""A dispatcher of fake providers whose spaces can be changed, and references in memory."""

import random
import threading
import time
from pathlib import Path

import numpy as np

from app.config import (
    CheckSettings,
    DeploymentSettings,
    LimitSettings,
    LogSettings,
    ModelSettings,
    ProviderSettings,
    Settings,
)
from app.dispatch import Dispatcher
from app.dispatch.drift.reference import Reference, ReferencesUnavailable
from app.dispatch.drift.texts import PROBES
from app.dispatch.drift.watch import DriftWatch
from app.domain import EmbeddingRequest, Vectors
from app.errors import Rejected
from app.providers.base import Capabilities
from tests.support.vectors import vector

WIDTH = 16


def rows(space="", texts=PROBES, width=WIDTH, noise=0.0):
    """The vectors of texts in a space, with noise of that length."""
    made = []
    for text in texts:
        values = vector(text, width, space) + noise * vector(text, width, "noise")
        made.append((values / np.linalg.norm(values)).astype("<f4").tobytes())
    return made


def reference(space="s", salt="", recorded_at=1):
    """The reference of a space, of vectors that have that salt."""
    return Reference(space, b"".join(rows(salt)), recorded_at, "a/x")


class FakeProvider:
    """Embeds in ``space``; ``fail`` is raised instead. Counts what it is asked for.

    Calls with one of ``refused`` are refused; a call waits until ``may_answer`` is set.
    """

    capabilities = Capabilities()

    def __init__(self, space="", max_inputs=None):
        self.space, self.noise, self.fail = space, 0.0, None
        self.capabilities = Capabilities(max_inputs=max_inputs)
        self.asked, self.refused = [], ()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def limits(self, model):
        return self.capabilities

    def embed(self, call, deadline):
        self.asked.append(list(call.items))
        self.may_answer.wait(30)
        if self.fail is not None:
            raise self.fail
        if set(self.refused) & set(call.items):
            raise Rejected("the text is too long")
        made = rows(self.space, call.items, noise=self.noise)
        return Vectors(made, [1] * len(made))

    @property
    def checks(self):
        """How often it was asked for the first probe text."""
        return sum(PROBES[0] in items for items in self.asked)


class FakeReferences:
    """References in memory, which can be unavailable."""

    def __init__(self, *references):
        self.kept, self.number, self.is_away = {r.space: r for r in references}, 0, False

    def describe(self):
        return "memory"

    def version(self):
        if self.is_away:
            raise ReferencesUnavailable("it is away")
        return self.number

    def load(self):
        return dict(self.kept)

    def save(self, references):
        self.number += 1
        self.kept |= {r.space: r for r in references}


def settings(models, providers, quota=None, **check):
    """``models``: names of providers by model, all of them in the space "s".

    ``quota``: limits of each deployment.
    """
    return Settings(
        providers={n: ProviderSettings(n, "openai", "https://x.example/v1") for n in providers},
        models={
            model: ModelSettings(
                model,
                tuple(DeploymentSettings(provider=n, model="x", **quota or {}) for n in names),
                dimensions=WIDTH,
                space="s",
            )
            for model, names in models.items()
        },
        keys={},
        cache=None,
        limits=LimitSettings(),
        logs=LogSettings(),
        check=CheckSettings(**check),
    )


class Host:
    """One worker: a dispatcher and its watch. Workers with one ``directory`` are of one host."""

    def __init__(
        self, directory: Path, providers, references, clock, models=None, shared=None, **check
    ):
        self.providers = providers
        self.settings = settings(models or {"m": list(providers)}, providers, **check)
        self.dispatcher = Dispatcher(self.settings, providers, random.Random(1))
        self.watch = DriftWatch(
            self.dispatcher,
            self.settings,
            self.settings.check,
            references,
            directory,
            shared,
            clock,
        )

    def tick(self):
        """One tick, and as many as it takes until no check runs."""
        self.watch.tick()
        end = time.monotonic() + 60
        while self.watch._checker.is_running and time.monotonic() < end:
            self.watch.tick()

    def tick_until(self, is_true):
        """Short ticks until a condition is true, while checks may be under way."""
        self.watch._tick_s = 0.02
        end = time.monotonic() + 60
        while not is_true():
            assert time.monotonic() < end
            self.watch.tick()

    def stop(self):
        self.watch._close()

    def agreements(self):
        """The lowest cosine by provider; None where it is not known."""
        return {
            d.provider_name: d.agreement and round(d.agreement.lowest, 3)
            for _, d in self.dispatcher.deployments()
        }

    def states(self):
        return {row["provider"]: row["state"] for row in self.dispatcher.report()}

    def embed(self, text="text"):
        """One request; its outcome."""
        return self.dispatcher.embed(EmbeddingRequest("m", [text]), time.monotonic() + 60)


def checks(providers):
    return [provider.checks for provider in providers.values()]


def deployment_of(worker, provider):
    """The first deployment at a provider."""
    return next(d for _, d in worker.dispatcher.deployments() if d.provider_name == provider)
