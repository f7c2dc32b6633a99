"""``flask --app wsgi check --compare A B``: whether two models serve one vector space.

One deployment of each model embeds the probe texts of `app.dispatch.drift.texts`, and the report
has the cosines between their vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from app.cli.checks.deployments import Finding, embed_probes
from app.cli.checks.spaces import DIGITS
from app.config import ModelSettings
from app.dispatch.deployments.deployment import Deployment
from app.dispatch.drift.reference import compare as cosines_of
from app.dispatch.drift.texts import PROBES


@dataclass(slots=True)
class Side:
    """One of the two models: its space's id, and the deployment that embedded the probe texts."""

    model: str
    space: str
    deployment: str | None = None  # None: none has answered
    width: int | None = None
    errors: list[str] = field(default_factory=list)  # of deployments that did not answer


@dataclass(slots=True)
class Comparison:
    """The result: ``is_one_space`` is None where a model could not be asked."""

    sides: tuple[Side, Side]
    min_cosine: float  # a lower one shows two spaces
    is_one_space: bool | None = None
    lowest_cosine: float | None = None
    median_cosine: float | None = None
    lowest_text: str | None = None  # the name of the probe text with the lowest cosine


def compare(
    models: Mapping[str, ModelSettings],
    deployments: Iterable[tuple[str, Deployment]],
    names: tuple[str, str],
    seconds: float,
    min_cosine: float,
) -> Comparison:
    """Compare two of the models; every call may take ``seconds``.

    They serve one space where no cosine is below ``min_cosine``.
    """
    known = list(deployments)
    one, other = (Side(name, models[name].space) for name in names)
    first, second = (_embed(side, known, seconds) for side in (one, other))
    result = Comparison((one, other), min_cosine)
    if first is None or second is None:
        return result
    if one.width != other.width:
        result.is_one_space = False
        return result
    cosines = cosines_of(first, second)
    result.lowest_cosine = round(cosines.lowest, DIGITS)
    result.median_cosine = round(cosines.median, DIGITS)
    result.lowest_text = cosines.text
    result.is_one_space = cosines.lowest >= min_cosine
    return result


def _embed(
    side: Side, deployments: list[tuple[str, Deployment]], seconds: float
) -> list[bytes] | None:
    """Return the vectors of the first deployment of a model that answers; None: none did."""
    for model, deployment in deployments:
        if model != side.model:
            continue
        finding = Finding(model, deployment.label)
        if embed_probes(finding, deployment, model, seconds):
            side.deployment, side.width = deployment.label, finding.width
            return finding.rows
        side.errors += [f"{deployment.label}: {error}" for error in finding.errors]
    return None


def text_of(result: Comparison) -> str:
    """Format a comparison for reading."""
    lines = []
    for side in result.sides:
        lines += [f"{side.model}: {error}" for error in side.errors]
        if side.deployment is not None:
            lines.append(f"{side.model}: {side.deployment}, {side.width} wide, space {side.space}")
    if result.lowest_cosine is not None:
        lines.append(
            f"cosines of {len(PROBES)} texts: lowest {result.lowest_cosine} "
            f"({result.lowest_text!r}), median {result.median_cosine}"
        )
    return "\n".join([*lines, _conclusion(result)])


def _conclusion(result: Comparison) -> str:
    one, other = result.sides
    same_id = one.space == other.space
    if result.is_one_space is None:
        return "Not compared: a model could not be asked."
    if result.is_one_space:
        advice = "" if same_id else ' To share cache and indexes, give both the same "space".'
        return f"One vector space: no cosine is below {result.min_cosine}.{advice}"
    reason = (
        f"a cosine is below {result.min_cosine}"
        if one.width == other.width
        else "their widths differ"
    )
    advice = (
        f' Both have the id {one.space}: give one of them another "space".'
        if same_id
        else " An index of one has to be embedded again for the other."
    )
    return f"Two vector spaces: {reason}.{advice}"
