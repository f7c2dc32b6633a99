"""Types of command line parameters."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

import click

from app.usage.reports import report as reports

if TYPE_CHECKING:
    _Type = click.ParamType[Any]
else:  # before click 8.2 it is not generic
    _Type = click.ParamType


class _Parsed(_Type):
    """A type of which ``parse`` raises ValueError for a wrong text."""

    def parse(self, value: Any, ctx: Any) -> Any:
        raise NotImplementedError

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
