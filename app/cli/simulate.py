"""The command ``simulate``: a load on the settings in virtual time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.common import fail
from app.cli.tables import aligned, cell
from app.config import SettingsError

if TYPE_CHECKING:
    from app.cli.simulation.figures import GroupFigures
    from app.cli.simulation.run import Run

_NAMES = {"configured": "as set", "equal keys": "none"}


@click.command("simulate")
@click.argument(
    "load_file", metavar="LOAD.json", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--seconds",
    type=click.FloatRange(1, 3600),
    default=60.0,
    show_default=True,
    help="Seconds of requests; the first tenth does not count.",
)
@click.option("--workers", type=click.IntRange(1, 1000), help="Default: WEB_CONCURRENCY, or 1.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random numbers.")
@click.option(
    "--compare", is_flag=True, help="The same load also with share 1 and tier default for all keys."
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def simulate(
    load_file: Path, seconds: float, workers: int | None, seed: int, compare: bool, as_json: bool
) -> None:
    """Simulate a load with the settings in virtual time: how long requests wait, by key and tier.

    No provider is called. The load file says who sends what, and how long calls take: see
    docs/dispatch.md, "How to share a provider between teams".
    """
    from app.cli.simulation.load import read_load, settings_for
    from app.cli.simulation.run import Sharing, SimulationError
    from app.cli.simulation.run import simulate as run_load

    try:
        load = read_load(load_file)
        settings = settings_for(load, workers)
        ways: list[Sharing] = ["configured", "equal keys"] if compare else ["configured"]
        runs = {_NAMES[way]: run_load(load, settings, seconds, seed, way) for way in ways}
    except (SettingsError, SimulationError) as error:
        fail(error)
    click.echo(_as_json(runs, seed) if as_json else _as_text(runs))


def _as_json(runs: dict[str, Run], seed: int) -> str:
    from app.cli.simulation.figures import group_figures, provider_figures

    run = next(iter(runs.values()))
    found = {
        "seconds": run.seconds,
        "workers": run.settings.workers,
        "seed": seed,
        "results": [
            {
                "shares": name,
                "callers": [asdict(figures) for figures in group_figures(run)],
                "providers": [asdict(figures) for figures in provider_figures(run)],
            }
            for name, run in runs.items()
        ],
    }
    return json.dumps(found, indent=2)


def _as_text(runs: dict[str, Run]) -> str:
    run = next(iter(runs.values()))
    workers = run.settings.workers
    head = f"{run.seconds:g} s after the warm-up, {workers} worker{'s' * (workers > 1)}"
    return "\n".join([head, "", *_callers(runs), "", *_providers(runs)])


def _callers(runs: dict[str, Run]) -> list[str]:
    """A line for each key and tier, those of all runs side by side."""
    from app.cli.simulation.figures import PERCENTILES, group_figures

    times = [f"{what} p{p}" for what in ("queue", "total") for p in PERCENTILES]
    head = ["key", "tier", "requests", "texts/s", "% of texts", *times, "errors"]
    by_run = {name: group_figures(run) for name, run in runs.items()}
    rows = [
        [figures.key, *_shares(runs, name), *_cells(figures)]
        for figures_of_group in zip(*by_run.values(), strict=True)
        for name, figures in zip(by_run, figures_of_group, strict=True)
    ]
    first = 1 + len(_shares(runs, ""))
    if first > 1:
        head.insert(1, "shares")
    right = [False] * (first + 1) + [True] * (len(head) - first - 2) + [False]
    return [*aligned([head, *rows], right), "Times are in milliseconds."]


def _shares(runs: dict[str, Run], name: str) -> list[str]:
    return [name] if len(runs) > 1 else []


def _cells(figures: GroupFigures) -> list[str]:
    from app.cli.simulation.figures import PERCENTILES

    times = [
        f"{of[p]:,.0f}" if p in of else "-"
        for of in (figures.queue_ms, figures.total_ms)
        for p in PERCENTILES
    ]
    errors = ", ".join(f"{n:,} {code}" for code, n in figures.errors.items())
    return [
        figures.tier,
        f"{figures.requests:,}",
        f"{figures.texts_per_second:,.0f}",
        f"{100 * figures.share_of_texts:.1f}",
        *times,
        errors or "-",
    ]


def _providers(runs: dict[str, Run]) -> list[str]:
    from app.cli.simulation.figures import provider_figures

    head = ["provider", *(["shares"] if len(runs) > 1 else [])]
    head += ["calls", "texts a call", "slots", "% of slots used", "a call takes"]
    rows: list[Sequence[Any]] = [
        [
            figures.name,
            *_shares(runs, name),
            f"{figures.calls:,}",
            f"{figures.texts_per_call:,.1f}",
            figures.slots,
            f"{100 * figures.slots_used:.0f}",
            figures.call_takes,
        ]
        for name, run in runs.items()
        for figures in provider_figures(run)
    ]
    right = [False] * (len(head) - 5) + [True] * 4 + [False]
    return aligned([head, *([cell(value) for value in row] for row in rows)], right)
