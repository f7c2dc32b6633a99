"""Settings that only some kinds of provider have, and which of them change vectors.

The id of a model's vector space is made of the options that change vectors (`app.config.spaces`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import fields


def _always(_options: Mapping[str, Any], _model: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Effect:
    """Whether an option changes vectors, and which value counts where it is not set.

    ``default`` may be a function of the provider's name of the model. ``applies`` is a function of
    all options and that name: False where the option is not used.
    """

    changes_vector: bool
    default: Any = None
    applies: Callable[[Mapping[str, Any], str], bool] = _always

    def value(self, name: str, options: Mapping[str, Any], model: str) -> Any:
        """The value of the option ``name`` in use for a model."""
        if name in options:
            return options[name]
        return self.default(model) if callable(self.default) else self.default


#: Of options that change no vector: addresses, credentials, encodings of the same floats.
NO_EFFECT = Effect(False)


def changes_vector(
    default: Any, applies: Callable[[Mapping[str, Any], str], bool] = _always
) -> Effect:
    """Return the effect of an option that changes vectors: see `Effect`."""
    return Effect(True, default, applies)


@dataclass(frozen=True, slots=True)
class Option:
    """A setting that only one kind of provider knows: ``check`` is its marshmallow field."""

    check: fields.Field[Any]
    effect: Effect


def values_in_use(
    options: Mapping[str, Option], given: Mapping[str, Any], model: str
) -> dict[str, Any]:
    """The options that change vectors of a model, with their values in use."""
    return {
        name: option.effect.value(name, given, model)
        for name, option in options.items()
        if option.effect.changes_vector and option.effect.applies(given, model)
    }
