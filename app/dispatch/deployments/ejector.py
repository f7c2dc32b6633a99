"""Records the results of a model's calls, and ejects deployments that fail while others serve."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from app.dispatch.deployments.deployment import Deployment
from app.dispatch.queue.attempts import Attempt
from app.dispatch.queue.batch import Batch
from app.errors import (
    ConnectionFailed,
    CredentialsRefused,
    ProviderError,
    ProviderTimeout,
    Rejected,
)

_log = logging.getLogger("app.dispatch")


class Ejector:
    """Records each result in the `Standing` of its deployment; says when that is ejected.

    The `Standing` decides by the calls of its deployment alone. The ejector knows the other
    deployments of the model: when they answered, and how many of them are ejected already.
    """

    def __init__(self, model: str, deployments: Sequence[Deployment]) -> None:
        self._model = model
        self._deployments = deployments
        self._is_alone = len(deployments) == 1

    def record_success(self, batch: Batch, call_started_at: float, now: float) -> list[Deployment]:
        """Record a call that returned vectors; return the deployments that this ejects.

        Ejected are those whose calls stay without an answer while this deployment answers.
        """
        deployment, first = batch.deployment, batch.attempts[0]
        size = batch.item_count, batch.tokens
        deployment.unslowed_calls.learn(batch.calls_at_once, *size, now - call_started_at, now)
        if deployment.standing.record_success(
            batch.item_count, call_started_at, now, first.kind, batch.tokens
        ):
            _log.warning("deployment %s of %s is back", deployment.label, self._model)
        if self._is_alone:
            return []
        silent = []
        for other in self._deployments:
            if other is deployment or not other.standing.in_flight:
                continue
            if not other.standing.is_silent(now, call_started_at):
                continue
            error = ProviderTimeout("did not answer in time")
            if not self._may_eject(other, error, now):
                other.standing.suspect(now)
                continue
            other.standing.eject(error, now)
            self._log_ejection(other, error)
            silent.append(other)
        return silent

    def record_failure(
        self,
        deployment: Deployment,
        error: ProviderError,
        items: int,
        call_started_at: float,
        now: float,
        is_probe: bool,
    ) -> bool:
        """Record a call that failed; return whether that ejects its deployment.

        ``is_probe``: while it is ejected, the call is its half-open probe.
        """
        others = [d.standing.latency.answered_at for d in self._deployments if d is not deployment]
        is_ejected = deployment.standing.record_failure(
            error,
            items,
            call_started_at,
            now,
            max(others, default=None),
            lambda: self._may_eject(deployment, error, now),
            is_probe or self._is_alone,
        )
        if is_ejected:
            self._log_ejection(deployment, error)
        return is_ejected

    def record_refusal(self, batch: Batch, call_started_at: float, now: float) -> bool:
        """Record a call that ended with 400; return whether that is taken as the caller's fault."""
        standing = batch.deployment.standing
        kind = batch.attempts[0].kind
        trusted = self._is_alone or standing.trusts_400(kind, now)
        standing.record_refusal(
            call_started_at,
            now,
            kind,
            trusted=trusted,
            is_probe=batch.is_probe,
            is_test=bool(batch.refused_with),
        )
        return trusted

    def record_refuted_400(self, attempt: Attempt, now: float) -> bool:
        """Record that another deployment embedded what this one refused.

        Returns whether that ejects the one that refused it.
        """
        deployment = attempt.deployment
        error = Rejected("answered 400 to what another deployment embeds")
        is_ejected = deployment.standing.record_refuted_400(
            attempt.batch_size,
            attempt.is_probe,
            now,
            lambda: self._may_eject(deployment, error, now),
        )
        if is_ejected:
            self._log_ejection(deployment, error)
        return is_ejected

    def _may_eject(self, deployment: Deployment, error: ProviderError, now: float) -> bool:
        """Whether at least half of the deployments remain, or the error is surely this one's fault.

        An input that makes servers fail, or a fault of our own network, makes all deployments fail
        alike; then calling failing deployments serves more requests than calling none. Three errors
        cannot be shared: a refused connection, refused credentials, and a 400 to items that another
        deployment has embedded.
        """
        if isinstance(error, ConnectionFailed | CredentialsRefused | Rejected):
            return True
        ejected = sum(d.standing.is_ejected for d in self._deployments) + 1
        return ejected * 2 <= len(self._deployments)

    def _log_ejection(self, deployment: Deployment, error: ProviderError) -> None:
        credentials_refused = isinstance(error, CredentialsRefused)
        _log.log(
            logging.ERROR if credentials_refused else logging.WARNING,
            "deployment %s of %s is ejected: it %s%s",
            deployment.label,
            self._model,
            error.message,
            ": check its api_key" if credentials_refused else "",
        )
