"""``flask --app wsgi check``: call every deployment of every model, and compare their vectors.

The deployments of a model must return vectors of one vector space. Vectors of two spaces in one
index make searches wrong without an error. So each deployment embeds the same probe texts
(`app.dispatch.drift.texts`), and `app.cli.checks.spaces` compares their vectors.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from app.cli.tables import aligned, cell
from app.concurrency.deadline import Deadline
from app.dispatch.deployments.deployment import Deployment
from app.dispatch.drift.embedding import embed_texts
from app.dispatch.drift.reference import compare, matrix_of
from app.dispatch.drift.texts import PROBES
from app.domain import EmbeddingRequest, Vectors
from app.errors import ProviderError
from app.vectors import BYTES_PER_VALUE

#: Below this cosine a shortened vector is no part of the full one. Deployments of one space, and
#: two models that are compared, are held to CHECK["min_cosine"].
MIN_COSINE = 0.99


@dataclass(slots=True)
class Finding:
    """What the check found out about one deployment; ``None``: not checked, or not known."""

    model: str
    deployment: str
    reachable: bool = False
    latency_ms: float | None = None
    width: int | None = None
    norm: float | None = None
    encoding: str | None = None  # of the vectors in its responses
    batch: int | None = None  # inputs that it accepted in one call
    dimensions: bool | None = None  # shortened vectors equal the first values of the full ones
    cosine: float | None = None  # the lowest one to another deployment of its space
    reference: float | None = None  # the lowest cosine to the reference of its space
    reference_median: float | None = None
    reference_text: str | None = None  # the name of the text with the lowest cosine
    errors: list[str] = field(default_factory=list)
    rows: list[bytes] = field(default_factory=list, repr=False)  # vectors of the probe texts

    def as_dict(self) -> dict[str, Any]:
        """Return all but the vectors, for JSON."""
        found = asdict(self)
        del found["rows"]
        return found


def check(
    deployments: Iterable[tuple[str, Deployment]], seconds: float, skip_batch: bool = False
) -> list[Finding]:
    """Check each (model, deployment); every call may take ``seconds``."""
    findings = []
    for model, deployment in deployments:
        finding = Finding(model, deployment.label)
        findings.append(finding)
        if not embed_probes(finding, deployment, model, seconds):
            continue
        _check_dimensions(finding, deployment, model, seconds)
        if not skip_batch:
            _check_batch(finding, deployment, model, seconds)
    return findings


def _call(
    deployment: Deployment, request: EmbeddingRequest, seconds: float
) -> tuple[Vectors, float]:
    started = time.monotonic()
    call = deployment.build_call(request, list(request.items))
    vectors = deployment.embed(call, request.dimensions, Deadline(started + seconds))
    return vectors, time.monotonic() - started


def embed_probes(finding: Finding, deployment: Deployment, model: str, seconds: float) -> bool:
    """Embed the probe texts; put the vectors, or why there are none, into the finding."""

    def embed(texts: Sequence[str]) -> Vectors:
        vectors, took = _call(deployment, EmbeddingRequest(model, texts), seconds)
        finding.latency_ms = round(took * 1000, 1)
        finding.encoding = vectors.encoding
        return vectors

    try:
        rows = embed_texts(deployment, embed)
    except ProviderError as error:
        finding.errors.append(f"it {error.message}")
        return False
    finding.reachable, finding.rows = True, rows
    matrix = matrix_of(rows)
    finding.width = matrix.shape[1]
    finding.norm = round(float(np.linalg.norm(matrix, axis=1).mean()), 4)
    return True


def _check_dimensions(finding: Finding, deployment: Deployment, model: str, seconds: float) -> None:
    width = deployment.widths.narrower()
    if width is None:
        return
    request = EmbeddingRequest(model, PROBES[:1], dimensions=width)
    try:
        vectors, _ = _call(deployment, request, seconds)
    except ProviderError as error:
        finding.dimensions = False
        finding.errors.append(f"with dimensions={width} it {error.message}")
        return
    cosine = compare(vectors.rows, [finding.rows[0][: width * BYTES_PER_VALUE]]).lowest
    finding.dimensions = cosine >= MIN_COSINE
    if not finding.dimensions:
        finding.errors.append(
            f"with dimensions={width} it answers other vectors than the first {width} values "
            f"(cosine {cosine:.4f}): the model is not Matryoshka there"
        )


def _check_batch(finding: Finding, deployment: Deployment, model: str, seconds: float) -> None:
    size = deployment.max_inputs
    if size is None or size <= len(PROBES):
        return
    request = EmbeddingRequest(model, [f"a {i}" for i in range(size)])
    try:
        _call(deployment, request, seconds)
    except ProviderError as error:
        finding.errors.append(
            f"it does not take its max_inputs of {size} in one call: it {error.message}"
        )
        return
    finding.batch = size


def table(findings: list[Finding]) -> str:
    """Format the findings for reading: a line for each deployment, its errors below it."""
    columns = (
        "model",
        "deployment",
        "latency_ms",
        "width",
        "norm",
        "encoding",
        "batch",
        "dimensions",
        "cosine",
        "reference",
    )
    header, *lines = aligned(
        [columns, *([_cell(getattr(f, name)) for name in columns] for f in findings)]
    )
    out = [f"      {header}"]
    for finding, line in zip(findings, lines, strict=True):
        out.append(f"{'FAIL' if finding.errors else 'ok':6}{line}")
        out += [f"        {error}" for error in finding.errors]
    return "\n".join(out)


def _cell(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else cell(value)
