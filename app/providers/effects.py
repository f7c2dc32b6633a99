"""Which options of a kind of provider change its vectors: a model's space id is made of those.

Each module of a kind has ``EFFECTS`` beside its ``OPTIONS``: an `Effect` for every option. A test
fails where one is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


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


def values_in_use(
    effects: Mapping[str, Effect], options: Mapping[str, Any], model: str
) -> dict[str, Any]:
    """The options that change vectors of a model, with their values in use."""
    return {
        name: effect.value(name, options, model)
        for name, effect in effects.items()
        if effect.changes_vector and effect.applies(options, model)
    }
