"""``"concurrency"`` of a provider: a number, or found out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, fields


@dataclass(frozen=True, slots=True)
class AutoConcurrency:
    """Calls at once that are found out (`app.dispatch.queue.adaptive`), of all workers together."""

    least: int = 1
    most: int = 256


class Concurrency(fields.Field[Any]):
    """Calls at once: a number, ``"auto"``, or ``{"auto": [least, most]}``."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int | AutoConcurrency:
        if value == "auto":
            return AutoConcurrency()
        if isinstance(value, Mapping) and value.keys() == {"auto"}:
            bounds = value["auto"]
            if isinstance(bounds, list | tuple) and len(bounds) == 2 and all(map(_counts, bounds)):
                least, most = bounds
                if least <= most:
                    return AutoConcurrency(least, most)
        elif _counts(value):
            return int(value)
        raise ValidationError(
            "must be a whole number from 1, 'auto', or its bounds, for instance {'auto': [1, 64]}"
        )


def _counts(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
