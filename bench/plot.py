"""The picture of the comparison, if matplotlib is installed (extra ``bench``)."""

from pathlib import Path

from bench.report import Report
from bench.scenarios import UNITS, Metric

COLOURS = {
    "direct": "#c8c8c8",
    "nginx": "#9aa5b1",
    "envoy": "#8a7fb5",
    "flask floor": "#6b7785",
    "proxy": "#0b6e4f",
    "litellm": "#d1495b",
    "portkey": "#edae49",
    "tensorzero": "#3d6fb6",
}
PANELS: tuple[tuple[str, Metric], ...] = (
    ("small-base64", "cpu"),
    ("scarce-provider", "rate"),
    ("batch-float", "p50"),
    ("cached-single", "rate"),
)


def draw(report: Report, path: Path) -> str | None:
    """Write the PNG; return why not, or None."""
    try:
        import matplotlib
    except ImportError:
        return "no plot: matplotlib is not installed (pip install -e '.[bench]')"
    matplotlib.use("Agg")
    from matplotlib import pyplot

    asked = {scenario.name: scenario for scenario in report.asked()}
    panels = [(name, metric) for name, metric in PANELS if name in asked]
    if not panels:
        return "no plot: none of its scenarios was run"
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(8, 1.9 * len(panels)), layout="constrained", squeeze=False
    )
    for axis, (name, metric) in zip(axes[:, 0], panels, strict=True):
        _panel(axis, report, name, metric)
        better = "more" if metric == "rate" else "less"
        axis.set_title(f"{asked[name].title}: {UNITS[metric]} ({better} is better)", loc="left")
    figure.savefig(path, dpi=120)
    return None


def _panel(axis, report: Report, name: str, metric: Metric) -> None:
    values = {target: report.value(name, target, metric) for target in report.targets()}
    shown = {target: value for target, value in values.items() if value is not None}
    bars = axis.barh(
        list(shown), list(shown.values()), color=[COLOURS.get(t, "#444444") for t in shown]
    )
    axis.bar_label(bars, [f" {v:,.0f}" if v >= 100 else f" {v:.2g}" for v in shown.values()])
    axis.set_xscale("log")
    axis.invert_yaxis()
    axis.margins(x=0.12)
    axis.spines[["top", "right"]].set_visible(False)
