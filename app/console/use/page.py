"""The page Use: who used what over time, what is left of budgets, unusual volume, and blocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from flask import Response, request

from app.config import Settings
from app.console.keys.blocking import Blocking, add_block_forms
from app.console.page import Answer, Page, render
from app.console.sessions import Session
from app.console.templating import money, number, short
from app.console.use.bars import Bars, make_bars
from app.console.use.columns import COLUMNS, MEASURES, TIMES, TITLES
from app.console.use.figures import Figures, figures_of
from app.console.use.query import NONE, RANGES, Asked, dimensions_for, read
from app.domain import Caller
from app.exchange import EXCHANGE
from app.limits.periods import zone_of
from app.usage.reports.budgets import Budget, budgets_of, ledger_rules, sums_by_key
from app.usage.reports.report import as_csv, readable
from app.usage.reports.reporter import MAX_GROUPS, Report, Reporter
from app.usage.reports.volume_alert import VolumeAlert
from app.usage.store.queries import VolumeLimits

T = TypeVar("T")

#: Rows of the table; the file to download has all.
MAX_ROWS_SHOWN = 100
#: Bars up to which their titles name each part; of more bars, the page would get too large.
MAX_BARS_WITH_PARTS = 120
#: Budgets that an administrator sees, ordered by when they run out.
MAX_BUDGETS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the page reads."""

    reporter: Reporter
    unusual: VolumeLimits
    alert: VolumeAlert
    callers: Callable[[], Mapping[str, Caller]]  # all whose limits are known, by name


def use_page(settings: Settings, ledger: Ledger, blocking: Blocking) -> Page:
    """Return the page: administrators see all keys, others their own."""
    page = Page("use", "Use")
    zone, count_cached = settings.limits.timezone, settings.limits.count_cached_tokens

    def asked_by(session: Session) -> Asked:
        return read(request.args, session.caller, zone, bool(ledger.unusual), time.time())

    def budgets(report: Report, session: Session) -> list[Budget]:
        callers = ledger.callers().values() if session.is_admin else [session.caller]
        limited = [caller for caller in callers if ledger_rules(caller, zone_of(zone))]
        own = None if session.is_admin else session.caller.name
        sums = sums_by_key(report, own, [caller.name for caller in limited])
        return budgets_of(limited, zone_of(zone), count_cached, sums, time.time())

    def made(session: Session, work: Callable[[Report], T]) -> T:
        """Make reports within the limits of the key, as ``GET /v1/usage`` does.

        Not of the session, of which a key may begin any number. Administrators have a limit for
        each, as two may use one key, and two tabs.
        """
        if not session.is_admin:
            return ledger.reporter.run(session.caller.name, work)
        request_id = request.environ[EXCHANGE].id
        return ledger.reporter.run(f"console {session.id}", work, f"console {request_id}")

    @page.get()
    def show(session: Session) -> Answer:
        asked = asked_by(session)

        def work(report: Report) -> tuple[Figures, list[Budget]]:
            return figures_of(report, asked, ledger.unusual), budgets(report, session)

        figures, of_keys = made(session, work)
        values: dict[str, Any] = {
            **_of_form(asked, session.caller),
            "zone": asked.given.get("timezone", zone),
            **_of_table(figures, asked, bool(ledger.unusual)),
            "budgets": of_keys[:MAX_BUDGETS_SHOWN],
            "budgets_left_out": max(0, len(of_keys) - MAX_BUDGETS_SHOWN),
            "now": time.time(),
            "limits": ledger.unusual,
            "unusual": ledger.alert.groups if session.is_admin else [],
            "blocks": blocking.in_force() if session.is_admin else [],
            "blocked_by_settings": blocking.of_settings() if session.is_admin else [],
        }
        return render("use.html", **values)

    @page.get("/csv")
    def download(session: Session) -> Answer:
        asked = asked_by(session)
        query = asked.groups(ledger.unusual)
        rows = made(session, lambda report: report(query))
        text = as_csv([readable(row, asked.zone) for row in rows])
        response = Response(text, content_type="text/csv; charset=utf-8")
        name = f"usage-{asked.since:%Y-%m-%d}-{asked.until:%Y-%m-%d}-by-{'-'.join(asked.by)}.csv"
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
        return response

    add_block_forms(page, blocking)
    return page


def _of_form(asked: Asked, caller: Caller) -> dict[str, Any]:
    return {
        "asked": asked,
        "ranges": RANGES,
        "dimensions": {name: TITLES[name] for name in dimensions_for(caller)},
        "measures": MEASURES,
    }


def _of_table(figures: Figures, asked: Asked, has_unusual: bool) -> dict[str, Any]:
    """Return what the template shows of the figures."""
    measure = MEASURES[asked.measure]
    columns = [c for c in COLUMNS if has_unusual or c.name != "unusual_hours"]
    most = max((row[asked.measure] for row in figures.groups), default=0)
    return {
        "figures": figures,
        "rows": figures.groups[:MAX_ROWS_SHOWN],
        "left_out": max(0, len(figures.groups) - MAX_ROWS_SHOWN),
        "max_groups": MAX_GROUPS,
        "columns": columns,
        "titles": TITLES,
        "times": TIMES,
        "grouped_by": " and ".join(TITLES[name].lower() for name in asked.by),
        "formats": FORMATS,
        "measure": measure,
        "share": lambda row: round(100 * row[asked.measure] / most, 2) if most else 0,
        "bars": _bars(figures, asked),
        "bar_times": [bar_title(at, asked) for at in figures.buckets],
        "series": [series_name(one.value) for one in figures.series],
        "no_value": NONE,
    }


def milliseconds(value: float) -> str:
    """``12 ms``, or ``1.5 s`` from a second on."""
    return f"{value / 1000:.1f} s" if value >= 1000 else f"{value:.0f} ms"


#: How the values of a column are shown, by its kind.
FORMATS: Mapping[str, Callable[[float], str]] = {
    "number": number,
    "money": money,
    "milliseconds": milliseconds,
}


def series_name(value: str | int | None) -> str:
    """Return the name of a series, or of a group in the table; None: all others."""
    if value is None:
        return "all others"
    return NONE if value == "" else str(value)


def bar_title(at: int, asked: Asked) -> str:
    """Return the time of a bar in words."""
    moment = datetime.fromtimestamp(at / 1000, UTC if asked.grain == "day" else asked.zone)
    return f"{moment:%a %d %b %Y}" if asked.grain == "day" else f"{moment:%a %d %b, %H:%M}"


def _bars(figures: Figures, asked: Asked) -> Bars:
    """Return the bars; each says its time, its sum and what that is made of."""
    times: list[str] = []
    titles: list[str] = []
    is_money = MEASURES[asked.measure].kind == "money"
    whole: Callable[[float], str] = money if is_money else number
    for i, at in enumerate(figures.buckets):
        zone = UTC if asked.grain == "day" else asked.zone
        moment = datetime.fromtimestamp(at / 1000, zone)
        is_midnight = asked.grain == "hour" and moment.hour == 0
        is_day = asked.grain == "day" or is_midnight
        times.append(f"{moment:%-d %b}" if is_day else f"{moment:%H:%M}")
        parts = [(one, one.values[i]) for one in figures.series if one.values[i]]
        named = [f"{series_name(one.value)}: {whole(value)}" for one, value in parts]
        if len(figures.buckets) > MAX_BARS_WITH_PARTS:
            named = []
        title = [bar_title(at, asked), f"{whole(sum(v for _, v in parts))} in all", *named]
        titles.append("\n".join(title))
    values: Sequence[Sequence[float]] = [one.values for one in figures.series]
    return make_bars(times, titles, values, _axis(is_money))


def _axis(is_money: bool) -> Callable[[float], str]:
    return (lambda value: f"${value:,.4g}") if is_money else (lambda value: short(value))
