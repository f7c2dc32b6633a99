"""``python -m bench [--quick] [--only NAME …] [--targets NAME …] [--json FILE]``."""

import argparse
import dataclasses
from pathlib import Path

import orjson

from bench import connections, footprint, growth, machine, plot, report, runner
from bench.scenarios import SCENARIOS
from bench.targets import TARGETS, Target

RESULTS = Path(__file__).parent / "results"
QUICK = runner.Effort(rounds=2, seconds=0.5)
FULL = runner.Effort(rounds=3, seconds=1.2)
EXTRAS = "idle", "peaks", "growth", "connections"
"""What is measured beside the scenarios, and can be named in --only as they can."""


def main() -> None:
    """Measure the chosen scenarios; print and write the results."""
    given = _arguments()
    targets, skipped = _targets(given)
    base = QUICK if given.quick else FULL
    effort = dataclasses.replace(base, worker_class=given.worker_class)
    found = report.Report(machine.facts(), effort, skipped)
    chosen = [s for s in SCENARIOS if (s.name in given.only if given.only else _default(s, given))]
    found.results = runner.run(chosen, targets, effort)
    _extras(found, given, targets)
    _keep(found, given)


def _default(scenario, given: argparse.Namespace) -> bool:
    return scenario.quick or not given.quick


def _extras(found: report.Report, given: argparse.Namespace, targets: list[Target]) -> None:
    """Measure memory, start, disk, connections and growth; of the proxy only if it is chosen."""

    def wanted(name: str) -> bool:
        return name in given.only if given.only else not given.quick

    if wanted("idle"):
        found.idle = footprint.idle(targets)
    if not any(target.name == "proxy" for target in targets):
        return
    if wanted("idle"):
        found.installed = footprint.installed()
    if wanted("peaks"):
        found.peaks = footprint.peaks()
    if wanted("connections"):
        found.openings = connections.run()
    if wanted("growth"):
        found.growth = growth.run()


def _targets(given: argparse.Namespace) -> tuple[list[Target], dict[str, str]]:
    """Return the targets to measure, and missing ones with the reason."""
    asked = [target for target in TARGETS if not given.targets or target.name in given.targets]
    reasons = {target.name: target.missing() for target in asked}
    if given.quick and not given.targets:
        reasons |= {target.name: "--quick" for target in asked if target.peer}
    skipped = {name: why for name, why in reasons.items() if why}
    for name, why in skipped.items():
        runner.say(f"{name} skipped: {why}")
    return [target for target in asked if target.name not in skipped], skipped


def _keep(found: report.Report, given: argparse.Namespace) -> None:
    """Print the tables; write them and the picture, and JSON if requested."""
    text = report.markdown(found)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    name = "partial" if given.only or given.targets else "latest"
    (RESULTS / f"{name}.md").write_text(text)
    if why := plot.draw(found, RESULTS / f"{name}.png"):
        runner.say(why)
    if given.json:
        given.json.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))


def _arguments() -> argparse.Namespace:
    names = [*(scenario.name for scenario in SCENARIOS), *EXTRAS]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the main scenarios, about a minute")
    parser.add_argument("--only", nargs="+", choices=names, default=[], metavar="NAME",
                        help=", ".join(names))  # fmt: skip
    parser.add_argument("--targets", nargs="+", choices=[t.name for t in TARGETS], default=[])
    parser.add_argument("--worker-class", choices=("gevent", "gthread"), default="gevent")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
