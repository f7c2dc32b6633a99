"""Types of command line parameters."""

from __future__ import annotations

import ipaddress
import time
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

import click

from app.usage.reports import report as reports

if TYPE_CHECKING:
    from app.auth.key_table import Expiry

    _Type = click.ParamType[Any]
else:  # before click 8.2 it is not generic
    _Type = click.ParamType

#: Option value for a key that does not expire.
NEVER = "never"


class _Parsed(_Type):
    """A type of which ``parse`` raises ValueError for a wrong text."""

    def parse(self, value: Any, ctx: Any) -> Any:
        raise NotImplementedError  # each type has its own

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        try:
            return self.parse(value, ctx)
        except (ValueError, OverflowError) as error:
            self.fail(str(error), param, ctx)


class Moment(_Parsed):
    """A time; dates are in the time zone of the option ``timezone``, which must be eager."""

    name = "time"

    def parse(self, value: Any, ctx: Any) -> datetime:
        zone = ctx.params.get("timezone", UTC) if ctx is not None else UTC
        return reports.moment(value, datetime.now(zone))


class TimeZone(_Parsed):
    """A time zone by its name."""

    name = "zone"

    def parse(self, value: Any, ctx: Any) -> tzinfo:
        return value if isinstance(value, tzinfo) else reports.time_zone(value)


class Dimensions(_Parsed):
    """Dimensions of a report, separated by commas."""

    name = "names"

    def parse(self, value: Any, ctx: Any) -> list[str]:
        return reports.dimensions(value)


class Network(_Parsed):
    """A network in CIDR notation."""

    name = "network"

    def parse(self, value: Any, ctx: Any) -> str:
        return str(ipaddress.ip_network(value))


class Duration(_Type):
    """Seconds, from ``90d``, ``12h``, ``30m``."""

    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        now = datetime.now(UTC)
        try:
            seconds = (now - reports.moment(value, now)).total_seconds()
        except (ValueError, OverflowError):
            seconds = -1
        if seconds < 0 or value[-1:].isdigit():
            self.fail(f"{value!r} is no duration: 90d, 12h, 30m", param, ctx)
        return seconds


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
