"""The tables, in Markdown."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields

from bench.connections import CLIENTS, Opening
from bench.footprint import Idle, Peak
from bench.growth import Point
from bench.runner import Effort, Result
from bench.scenarios import SCENARIOS, UNITS, Metric, Scenario


@dataclass
class Report:
    """All results of a run."""

    machine: dict[str, str]
    effort: Effort
    skipped: dict[str, str] = field(default_factory=dict)
    """Targets that are not here, and why."""
    results: list[Result] = field(default_factory=list)
    idle: list[Idle] = field(default_factory=list)
    peaks: list[Peak] = field(default_factory=list)
    installed: dict[str, float] = field(default_factory=dict)
    growth: list[Point] = field(default_factory=list)
    openings: list[Opening] = field(default_factory=list)

    def result(self, scenario: str, target: str) -> Result | None:
        """Return the result of one scenario on one target, if it has rounds."""
        found = (r for r in self.results if (r.scenario, r.target) == (scenario, target))
        return next((result for result in found if result.samples), None)

    def targets(self) -> list[str]:
        """Return the targets with results, in order."""
        return list(dict.fromkeys(result.target for result in self.results))

    def asked(self) -> list[Scenario]:
        """Return the scenarios with results, in order."""
        names = {result.scenario for result in self.results}
        return [scenario for scenario in SCENARIOS if scenario.name in names]

    def value(self, scenario: str, target: str, metric: Metric) -> float | None:
        """Return the median of a metric, ``added`` included."""
        result = self.result(scenario, target)
        if result is None:
            return None
        if metric != "added":
            return result.median(metric)
        direct = self.result(scenario, "direct")
        return result.median("p50") - direct.median("p50") if direct else None


def markdown(report: Report) -> str:
    """Return the whole report."""
    parts = ["# Benchmark", _facts(report)]
    if report.results:
        parts += ["## Compared", _compared(report), "## Every number", _details(report)]
    if report.idle:
        parts += ["## Start and idle memory", _idle(report.idle)]
    if report.peaks:
        parts += ["## One large answer, memory above idle", _peaks(report.peaks)]
    if report.installed:
        parts += ["## On disk, without extras", _installed(report.installed)]
    if report.openings:
        parts += [f"## {CLIENTS:,} connections at once", _openings(report.openings)]
    if report.growth:
        parts += ["## Growth", _growth(report.growth)]
    return "\n\n".join(parts) + "\n"


def _facts(report: Report) -> str:
    effort = report.effort
    lines = [f"- {name}: {value}" for name, value in report.machine.items()]
    lines.append(
        f"- medians of {effort.rounds} interleaved rounds of {effort.seconds:g} s, "
        f"{effort.worker_class} workers; load, provider and target share the cores"
    )
    lines += [f"- {name} skipped: {why}" for name, why in report.skipped.items()]
    return "\n".join(lines)


def _compared(report: Report) -> str:
    targets = report.targets()
    rows = [
        [
            scenario.title,
            UNITS[metric],
            *(_figure(report.value(scenario.name, name, metric)) for name in targets),
            _goal(metric, goal, report.value(scenario.name, "proxy", metric)),
        ]
        for scenario in report.asked()
        for metric, goal in scenario.goals.items()
    ]
    note = "CPU of *direct* is the provider's own. The Flask floor calls no provider."
    return f"{_table(['work', 'measured', *targets, 'goal for proxy'], rows)}\n\n{note}"


def _goal(metric: Metric, goal: float | None, value: float | None) -> str:
    if goal is None:
        return ""
    at_least = metric == "rate"
    mark = "" if value is None else " ✓" if (value >= goal) == at_least else " ✗"
    return f"{'≥' if at_least else '≤'} {goal:g}{mark}"


def _details(report: Report) -> str:
    rows = []
    for scenario in report.asked():
        for name in report.targets():
            result = next(
                (r for r in report.results if (r.scenario, r.target) == (scenario.name, name)),
                None,
            )
            if result is None:
                continue
            if result.failure:
                rows.append([scenario.name, name, f"failed: {result.failure[:80]}", "", "", ""])
                continue
            cells = (_with_spread(result, metric) for metric in ("rate", "p50", "p99", "cpu"))
            rows.append([scenario.name, name, *cells])
    return _table(["scenario", "target", "requests/s", "p50 ms", "p99 ms", "CPU ms/request"], rows)


def _with_spread(result: Result, metric: Metric) -> str:
    low, high = result.spread(metric)
    return f"{_figure(result.median(metric))} ({_figure(low)} to {_figure(high)})"


def _idle(rows: Sequence[Idle]) -> str:
    head = ["target", "start to first answer, s", "one worker, MB", "all processes, MB"]
    return _table(
        head,
        [[r.target, f"{r.start:.2f}", f"{r.worker:.0f}", f"{r.everything:.0f}"] for r in rows],
    )


def _peaks(rows: Sequence[Peak]) -> str:
    head = ["answer", "size, MB", "peak above idle, MB", "times its size", "first time, ms"]
    return _table(
        head,
        [
            [
                f"{r.items} x 1536, {r.encoding}",
                *map(_figure, (r.answer, r.above_idle, r.above_idle / r.answer, 1000 * r.seconds)),
            ]
            for r in rows
        ],
    )


def _installed(sizes: dict[str, float]) -> str:
    largest = sorted(sizes.items(), key=lambda pair: -pair[1])
    shown = ", ".join(f"{name} {size:.1f}" for name, size in largest[:6])
    return f"{sum(sizes.values()):.0f} MB in {len(sizes)} packages, of which {shown}."


def _growth(points: Sequence[Point]) -> str:
    head = ["of", "size", "CPU ms/request", "CPU µs/input", "p50 ms", "worker, MB"]
    rows = []
    for point in points:
        each = _figure(1000 * point.cpu / point.size) if "inputs" in point.what else ""
        figures = _figure(point.cpu), each, _figure(point.p50), f"{point.memory:.0f}"
        rows.append([point.what, f"{point.size:,}", *figures])
    return _table(head, rows)


def _openings(rounds: Sequence[Opening]) -> str:
    head = ["proxy", "last first answer, s", "answers a connection until then", "Jain's index",
            "requests/s", "p50 ms", "p99 ms", "CPU ms/request"]  # fmt: skip
    rows = []
    for way in dict.fromkeys(opening.way for opening in rounds):
        its = [opening for opening in rounds if opening.way == way]
        cells = [way]
        for name in [each.name for each in fields(Opening)][1:]:
            values = [getattr(opening, name) for opening in its]
            figures = map(_figure, (statistics.median(values), min(values), max(values)))
            cells.append("{} ({} to {})".format(*figures))
        rows.append(cells)
    return _table(head, rows)


def _figure(value: float | None) -> str:
    """Return a number with three significant digits."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
