"""``flask --app wsgi check``: compares vectors of a space with each other and with its reference.

``check --record`` keeps the vectors as the reference, if all deployments of a space agree.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations
from typing import NoReturn

import click

from app.cli.checks.deployments import Finding, table
from app.cli.common import fail
from app.config import DEFAULT_MIN_COSINE, Settings
from app.dispatch.drift.reference import (
    Cosines,
    Reference,
    References,
    ReferencesUnavailable,
    compare,
)

#: Digits of a cosine that are shown: CHECK["min_cosine"] may be close to 1.
DIGITS = 6


def compare_with_recorded(
    settings: Settings, findings: list[Finding], spaces: Mapping[str, str]
) -> str | None:
    """Compare with what is recorded; return why that could not be read, if it could not."""
    try:
        with opened_references(settings) as references:
            known = {} if references is None else references.load()
    except ReferencesUnavailable as error:
        return f"the reference vectors cannot be read: {error}"
    compare_with_references(findings, spaces, known, min_cosine_of(settings))
    return None


def record(settings: Settings, findings: list[Finding], spaces: Mapping[str, str]) -> NoReturn:
    """Record a reference for each space, and exit; where something is wrong, record nothing."""
    if any(finding.errors for finding in findings):
        click.echo(table(findings))
        fail(
            "Nothing is recorded: every deployment has to answer, and to agree with the others of "
            "its space (--model records single models)"
        )
    made = references_to_record(findings, spaces)
    try:
        with opened_references(settings, to_write=True) as references:
            if references is None:
                fail("Nothing is recorded: CHECK is None")
            references.save(made)
            place = references.describe()
    except ReferencesUnavailable as error:
        fail(f"Nothing is recorded: {error}")
    for reference in made:
        click.echo(
            f"space {reference.space}: recorded {len(reference.rows)} vectors of "
            f"{reference.recorded_from}, {len(reference.rows[0]) // 4} wide, in {place}"
        )
    sys.exit(0)


def min_cosine_of(settings: Settings) -> float:
    """Return ``CHECK["min_cosine"]``, or its default where ``CHECK`` is None."""
    return DEFAULT_MIN_COSINE if settings.check is None else settings.check.min_cosine


def compare_pairs(
    findings: Iterable[Finding], spaces: Mapping[str, str], min_cosine: float
) -> None:
    """Compare all deployments of each space with each other; add an error to both of a pair.

    ``spaces`` are by model.
    """
    for group in by_space(findings, spaces).values():
        for one, other in combinations(group, 2):
            cosines = compare(one.rows, other.rows)
            for finding, second in ((one, other), (other, one)):
                lowest = round(cosines.lowest, DIGITS)
                finding.cosine = min(lowest, 1.0 if finding.cosine is None else finding.cosine)
                if cosines.lowest < min_cosine:
                    finding.errors.append(_disagreement(finding, second, cosines))


def compare_with_references(
    findings: Iterable[Finding],
    spaces: Mapping[str, str],
    references: Mapping[str, Reference],
    min_cosine: float,
) -> None:
    """Compare each deployment with the reference of its space, where one is recorded."""
    for space, group in by_space(findings, spaces).items():
        reference = references.get(space)
        if reference is None:
            continue
        for finding in group:
            if not reference.is_current:
                finding.errors.append(
                    f"the reference of space {space} is of other probe texts: record it anew"
                )
                continue
            cosines = compare(finding.rows, reference.rows)
            finding.reference = round(cosines.lowest, DIGITS)
            finding.reference_median = round(cosines.median, DIGITS)
            finding.reference_text = cosines.text
            if cosines.lowest < min_cosine:
                finding.errors.append(
                    f"it has drifted from the reference of space {space}: the lowest cosine is "
                    f"{finding.reference}, on the text {cosines.text!r}, the median "
                    f"{finding.reference_median}"
                )


def references_to_record(findings: Iterable[Finding], spaces: Mapping[str, str]) -> list[Reference]:
    """Return a reference for each space: the vectors of its first deployment."""
    now = int(time.time() * 1000)
    return [
        Reference(space, b"".join(group[0].rows), now, group[0].deployment)
        for space, group in by_space(findings, spaces).items()
    ]


def by_space(findings: Iterable[Finding], spaces: Mapping[str, str]) -> dict[str, list[Finding]]:
    """Return the findings with vectors, by their space."""
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.rows:
            found.setdefault(spaces[finding.model], []).append(finding)
    return found


@contextmanager
def opened_references(settings: Settings, to_write: bool = False) -> Iterator[References | None]:
    """Open where the references are; None where there can be none. Raises `ReferencesUnavailable`.

    A database in SQLite that does not exist is not created.
    """
    from app.dispatch.drift.build import make_references

    check, usage = settings.check, settings.usage
    if check is None:
        yield None
        return
    if usage is None:
        yield make_references(check, None)
        return
    from app.database.engine import Database, is_missing_file

    if is_missing_file(usage.url):
        if to_write:
            raise ReferencesUnavailable(
                "USAGE['url']: the file does not exist: flask --app wsgi usage migrate"
            )
        yield None
        return
    database = Database(usage.url)
    try:
        yield make_references(check, database)
    finally:
        database.close()


def _disagreement(finding: Finding, other: Finding, cosines: Cosines) -> str:
    if finding.width != other.width:
        return (
            f"its vectors are not as wide as those of {other.deployment}: these do not serve the "
            "same vector space"
        )
    place = "" if other.model == finding.model else f" of model {other.model}"
    return (
        f"these do not serve the same vector space: it and {other.deployment}{place} (cosine "
        f"{cosines.lowest:.{DIGITS}f} on the text {cosines.text!r}): take one out of "
        f"MODELS[{finding.model!r}]"
    )
