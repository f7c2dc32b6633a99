"""Log lines of checks: one an episode."""

from __future__ import annotations

import logging

from app.config import CheckSettings
from app.dispatch.drift.results import CheckResult
from app.dispatch.drift.targets import Target

_log = logging.getLogger("app.drift")


def log_change(
    target: Target, result: CheckResult, before: CheckResult | None, settings: CheckSettings
) -> None:
    """Log what is not as it was after the check before."""
    label = target.deployment.label
    if result.error:
        if before is None or not before.error:
            _log.warning(
                "deployment %s cannot be compared with the reference of space %s: it %s",
                label,
                target.space,
                result.error,
            )
        return
    if result.refusal and (before is None or result.refusal != before.refusal):
        _log.warning(
            "deployment %s is compared with the reference of space %s by the other texts only: "
            "it %s",
            label,
            target.space,
            result.refusal,
        )
    has_drifted = result.has_drifted(settings.min_cosine)
    had_drifted = before is not None and before.has_drifted(settings.min_cosine)
    if has_drifted and not had_drifted:
        _log_drift(target, result, settings.ejects)
    elif had_drifted and not has_drifted:
        _log.warning(
            "deployment %s agrees with the reference of space %s again: its lowest cosine is %.6f",
            label,
            target.space,
            result.lowest,
        )


def _log_drift(target: Target, result: CheckResult, ejects: bool) -> None:
    _log.log(
        logging.ERROR if ejects else logging.WARNING,
        "deployment %s has drifted from the reference of space %s: its lowest cosine is %.6f, on "
        "the text %r, its median %.6f%s",
        target.deployment.label,
        target.space,
        result.lowest,
        result.text,
        result.median,
        "; it is not called any more" if ejects else "",
    )
