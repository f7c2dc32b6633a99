"""Builds metrics, tracing and live figures from the settings; imports those that are enabled."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.observability.metrics.directory import VARIABLE

if TYPE_CHECKING:
    from flask import Blueprint

    from app.config import Settings
    from app.observability.live.observer import Live
    from app.observability.metrics.files import Files
    from app.observability.metrics.gauges import Gauges
    from app.observability.metrics.meter import Meter
    from app.observability.metrics.page import AreWithin
    from app.observability.tracing import Tracing
    from app.providers.base import Provider


@dataclass(frozen=True, slots=True)
class Metrics:
    """The objects of `app.observability.metrics` that work together."""

    files: Files
    meter: Meter
    gauges: Gauges
    allowed: tuple[str, ...]

    def page(self, require_admin: Callable[[], object], are_within: AreWithin) -> Blueprint:
        """Return the blueprint of ``GET /metrics``."""
        from app.observability.metrics.page import page

        return page(self.files, self.gauges, self.allowed, require_admin, are_within)


def metrics(settings: Settings) -> Metrics | None:
    """Return the metrics, in gunicorn's shared directory if there is one; None if disabled."""
    if not settings.metrics.enabled:
        return None
    from app.limits.pricing import Prices
    from app.observability.metrics.files import Files
    from app.observability.metrics.gauges import Gauges
    from app.observability.metrics.meter import Meter
    from app.observability.metrics.zeros import start_at_zero

    shared = os.environ.get(VARIABLE)
    files = Files(Path(shared) if shared else None)
    meter = Meter(files, settings.models, Prices(settings.models), settings.keys)
    start_at_zero(files, settings)
    gauges = Gauges(meter)
    if shared:
        gauges.keep_looking()  # a process alone updates its gauges at each scrape
    return Metrics(files, meter, gauges, settings.metrics.allowed)


def live(settings: Settings) -> Live | None:
    """Return what the console shows live, shared by gunicorn's workers; None if it is disabled."""
    if not settings.console.enabled:
        return None
    from app.limits.periods import Calendar, zone_of
    from app.limits.pricing import Prices
    from app.observability.live.observer import Live

    shared = os.environ.get(VARIABLE)
    day = Calendar("day", zone_of(settings.limits.timezone))
    return Live(Prices(settings.models), day, Path(shared) if shared else None)


def tracing(settings: Settings, providers: Mapping[str, Provider]) -> Tracing | None:
    """Return the tracing; None if TRACING is not set."""
    if settings.tracing is None:
        return None
    from app.observability.tracing import Tracing, exporter

    addresses = {name: getattr(made, "address", "") for name, made in providers.items()}
    kinds = {name: settings.providers[name].kind for name in providers}
    return Tracing(settings.tracing, kinds, addresses, exporter(settings.tracing))
