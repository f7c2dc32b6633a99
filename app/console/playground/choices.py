"""What the texts can be embedded with: a model, or for administrators one deployment of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.config import ModelSettings, Settings
from app.dispatch.deployments.deployment import Deployment
from app.domain import Caller
from app.errors import AdminOnly


@dataclass(frozen=True, slots=True)
class Choice:
    """A model; with ``deployment``, that one alone."""

    value: str  # in the form
    model: str
    deployment: Deployment | None = None

    @property
    def title(self) -> str:
        """The name that the page shows."""
        return self.model if self.deployment is None else self.deployment.label


class Choices:
    """The models and deployments of the settings, by the values of the form."""

    def __init__(self, settings: Settings, deployments: Iterable[tuple[str, Deployment]]) -> None:
        self._models: Mapping[str, ModelSettings] = settings.models
        self._local = {name for name, p in settings.providers.items() if p.kind == "local"}
        self._deployments: dict[str, Choice] = {}
        for model, deployment in deployments:
            value = f"{model}: {deployment.label}"
            while value in self._deployments or value in self._models:
                value += "+"
            self._deployments[value] = Choice(value, model, deployment)

    def models_of(self, caller: Caller) -> list[str]:
        """Return the models that a key may use."""
        return [name for name in self._models if caller.may_use(name)]

    def deployments_of(self, caller: Caller) -> dict[str, list[Choice]]:
        """Return the deployments by model, where there are several; for administrators only."""
        if not caller.admin:
            return {}
        found: dict[str, list[Choice]] = {}
        for choice in self._deployments.values():
            if caller.may_use(choice.model):
                found.setdefault(choice.model, []).append(choice)
        return {model: several for model, several in found.items() if len(several) > 1}

    def first_of(self, caller: Caller) -> str:
        """Return the model of the form at first: an embedded one, which needs no provider."""
        models = self.models_of(caller)
        embedded = (m for m in models if self._is_embedded(m))
        return next(embedded, models[0] if models else "")

    def find(self, value: str, caller: Caller) -> Choice:
        """Return the choice of a value. Raises `AdminOnly`.

        Any other value is taken for a model: embedding says whether there is one.
        """
        choice = self._deployments.get(value)
        if choice is None:
            return Choice(value, value)
        if not caller.admin:
            raise AdminOnly("Only an administrator's key may name a deployment.")
        return choice

    def _is_embedded(self, model: str) -> bool:
        return all(d.provider in self._local for d in self._models[model].deployments)
