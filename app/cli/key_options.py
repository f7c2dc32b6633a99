"""Parses the options of ``flask --app wsgi key …`` for the expiry of a key."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from app.cli.parameters import Duration

if TYPE_CHECKING:
    from app.auth.key_table import Expiry

#: Option value for a key that does not expire.
NEVER = "never"


class ExpiryOption(Duration):
    """When a key expires: ``90d`` or ``12h`` from now, or ``never``, which is ``""`` here."""

    name = "duration|never"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        return "" if value == NEVER else super().convert(value, param, ctx)


def end_of(given: float | str) -> int | None:
    """Return the expiry of an `ExpiryOption` in seconds since 1970; None: never."""
    return None if isinstance(given, str) else int(time.time() + given)


def expiry_of(given: float | str | None) -> Expiry:
    """Return the expiry of an `ExpiryOption`, or `UNCHANGED` if the option was not given."""
    from app.auth.key_table import UNCHANGED

    return UNCHANGED if given is None else end_of(given)
