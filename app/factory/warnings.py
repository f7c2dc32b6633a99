"""Warnings that a start logs, one line each, of settings that may not be meant so."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from app.config import Settings
from app.dispatch import Dispatcher
from app.dispatch.quotas.shares import exceeded_limits

_log = logging.getLogger("app.factory")


def warn_of_one_id(apart: Mapping[str, str]) -> None:
    """Log the models that clients cannot tell by the ids of their vector spaces, in one line."""
    if apart:
        _log.warning(
            "providers at different addresses have one name for these models, so that their spaces "
            "have one derived id: %s. They share no cached vectors. Set the 'space' of each: one "
            "name if they are one space (docs/operations.md)",
            ", ".join(apart),
        )


def warn_of_cut_texts(dispatcher: Dispatcher) -> None:
    """Log the deployments that may embed only the beginning of a long text, in one line."""
    if cutting := dispatcher.deployments_that_may_cut():
        _log.warning(
            "texts over the model's context are cut silently, or may be, by %s: set "
            "'max_item_tokens' of these deployments and the 'tokenizer' of their models "
            "(docs/providers.md)",
            ", ".join(cutting),
        )


def warn_of_exceeded_limits(settings: Settings, has_host_store: bool) -> None:
    """Log the limits of calls at once that are below the number of workers, in one line."""
    if exceeded := exceeded_limits(settings, has_host_store):
        _log.warning(
            "each of %d workers makes at least one call at once, which together may be more than "
            "%s: set WEB_CONCURRENCY to the smallest of these, or raise them (docs/dispatch.md)",
            settings.workers,
            ", ".join(exceeded),
        )


def warn_of_no_watch() -> None:
    _log.warning(
        "CHECK: no deployment is compared with its reference, so none is ejected for drift: the "
        "server is not started with deploy/gunicorn.conf.py, or has no directory for its workers"
    )
