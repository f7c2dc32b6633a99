"""What all workers have counted, as one answer: figures of now, series of the last hour, marks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy

from app.domain import TIERS
from app.limits.pricing import NANODOLLARS
from app.observability.live.counted import Counted, add_up
from app.observability.live.deployments import merge_reports
from app.observability.live.latencies import BOUNDS, percentile
from app.observability.live.ring import BUCKET_S, BUCKETS, Labels, Window
from app.observability.sides import SIDES

HOUR_S = BUCKETS * BUCKET_S
#: Seconds over which the figures of now are taken, besides the open bucket.
NOW_S = 30
#: Seconds after which a mark may still arrive: that of a reload comes with the new workers.
MARK_DELAY_S = 120
PERCENTILES = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}


def since_of(since: float, now: float) -> float:
    """Return from when on workers are asked: the figures of now need some buckets in any case."""
    return min(since, (now // BUCKET_S) * BUCKET_S - NOW_S)


def summarize(
    counted: Sequence[Counted],
    since: float,
    now: float,
    reports: Iterable[Sequence[dict[str, Any]]] = (),
) -> dict[str, Any]:
    """Return the figures of all workers, and the states of deployments as they report them.

    The series have the closed buckets from ``since`` on. Marks are those since ``marks_since``.
    """
    stop = int(now // BUCKET_S)  # the number of the open bucket
    first = min(max(int(-(-since // BUCKET_S)), stop - BUCKETS + 1), stop)
    recent = stop - NOW_S // BUCKET_S
    all_of_them = add_up(counted, min(first, recent), stop + 1)
    window, hour = all_of_them.window, all_of_them.totals
    models = merge_reports(reports, hour)
    states = [one["state"] for model in models for one in model["deployments"]]
    marks_since = max(since - MARK_DELAY_S, now - HOUR_S)
    return {
        "at": round(now, 3),
        "until": stop * BUCKET_S,
        "figures": {
            **_figures(window.slice(recent, stop + 1), NOW_S + now - stop * BUCKET_S),
            **_totals(all_of_them),
            "deployments": len(states),
            "deployments_ok": states.count("ok"),
        },
        "errors": _errors(hour),
        "series": _series(window.slice(first, stop)),
        "marks_since": marks_since,
        "marks": [mark._asdict() for mark in all_of_them.marks if mark.at >= marks_since],
        "models": models,
    }


def _totals(counted: Counted) -> dict[str, Any]:
    """Return the figures that are not of the last half minute: of now, the hour and today."""
    hour, waiting = counted.totals, counted.waiting
    return {
        "waiting_calls": sum(waiting.values()),
        "waiting": {tier: waiting.get(tier, 0) for tier in TIERS},
        "spent_today_dollars": counted.today[1] / NANODOLLARS,
        "spent_today_from": "workers",
        "spent_hour_dollars": hour.get(("cost",), 0) / NANODOLLARS,
        "requests_hour": int(hour.get(("requests",), 0)),
        "failed_hour": int(sum(n for labels, n in hour.items() if labels[0] == "error")),
    }


def _figures(window: Window, seconds: float) -> dict[str, Any]:
    """Return rates a second and latencies of a window that is so many seconds long."""
    sums = {labels: float(values.sum()) for labels, values in window.columns.items()}
    rates = {
        f"{name}_per_second": round(sums.get((name,), 0.0) / seconds, 3)
        for name in ("requests", "served", "items", "tokens")
    }
    errors: dict[str, float] = {}
    for labels, value in sums.items():
        if labels[0] == "error":
            errors[labels[1]] = errors.get(labels[1], 0.0) + value
    latencies = _latencies(window).sum(axis=0, keepdims=True)
    return {
        **rates,
        "failed_per_second": round(sum(errors.values()) / seconds, 3),
        "errors_per_second": {side: round(errors.get(side, 0.0) / seconds, 3) for side in SIDES},
        **{name: _ms(percentile(latencies, share)[0]) for name, share in PERCENTILES.items()},
        "cached_share": _share(sums.get(("cached_tokens",), 0.0), sums.get(("tokens",), 0.0)),
    }


def _series(window: Window) -> dict[str, Any]:
    """Return the sums of a window by bucket, and the latencies."""
    nothing = numpy.zeros(window.size)
    sums = {name: window.columns.get((name,), nothing) for name in ("requests", "tokens", "cost")}
    by_side: dict[str, Any] = {}
    waiting: dict[str, Any] = {}
    for labels, values in window.columns.items():
        if labels[0] == "error":
            by_side[labels[1]] = by_side.get(labels[1], nothing) + values
        elif labels[0] == "waiting":
            waiting[labels[1]] = _whole(values)
    latencies = _latencies(window)
    cached = window.columns.get(("cached_tokens",), nothing)
    shares = zip(cached.tolist(), sums["tokens"].tolist(), strict=True)
    return {
        "first": window.first * BUCKET_S,
        "step": BUCKET_S,
        "size": window.size,
        "requests": _whole(sums["requests"]),
        "tokens": _whole(sums["tokens"]),
        "cost_dollars": [round(value / NANODOLLARS, 6) for value in sums["cost"].tolist()],
        "cached_share": [_share(*share) for share in shares],
        "errors": {side: _whole(values) for side, values in by_side.items()},
        "waiting": waiting,
        **{
            name: [_ms(value) for value in percentile(latencies, share)]
            for name, share in PERCENTILES.items()
        },
    }


def _latencies(window: Window) -> Any:
    """Return the histogram of each bucket."""
    counts = numpy.zeros((window.size, len(BOUNDS)))
    for labels, values in window.columns.items():
        if labels[0] == "latency":
            counts[:, int(labels[1])] = values
    return counts


def _errors(hour: Mapping[Labels, float]) -> list[dict[str, Any]]:
    """Return the errors of the last hour, the most frequent first."""
    found = [
        {"side": labels[1], "code": labels[2], "number": int(value)}
        for labels, value in hour.items()
        if labels[0] == "error"
    ]
    return sorted(found, key=lambda error: (-error["number"], error["side"], error["code"]))


def _whole(values: Any) -> list[int]:
    return [int(value) for value in values.tolist()]


def _share(amount: float, whole: float) -> float | None:
    return round(amount / whole, 3) if whole else None


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else float(f"{seconds * 1000:.3g}")
