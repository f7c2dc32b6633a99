"""Embeds texts for the playground: as requests of the session's key, like those to the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from app.api.client import has_left
from app.api.embedder import Embedder
from app.console.playground.choices import Choice
from app.console.playground.form import TIMEOUT_S
from app.console.sessions import Session
from app.domain import Caller, EmbeddingRequest, Outcome
from app.errors import ClientError, InternalError, drop_tracebacks
from app.exchange import EMBEDDINGS_ROUTE, Exchange, Observer, StartObserver, request_id
from app.pipeline import Pipeline

#: In the log: these requests are told from the API's by their path. Metrics count both as one.
PATH = "/console/playground/embeddings"
_RULE = "/v1/embeddings"


@dataclass(frozen=True, slots=True)
class Embedded:
    """One side of the page: the texts as one model or deployment has embedded them."""

    choice: Choice
    exchange: Exchange
    seconds: float
    outcome: Outcome | None
    error: ClientError | None


class PlaygroundEmbedder:
    """Embeds, with an `Exchange` for each side: two sides are two requests for limits and ledger.

    ``observers`` and ``start_observers`` are those of every request.
    """

    def __init__(
        self,
        embedder: Embedder,
        pipeline: Pipeline,
        observers: Sequence[Observer],
        start_observers: Sequence[StartObserver],
    ) -> None:
        self._embedder = embedder
        self._pipeline = pipeline
        self._observers = observers
        self._start_observers = start_observers

    def embed(
        self,
        session: Session,
        choice: Choice,
        texts: Sequence[str],
        fields: Mapping[str, Any],
        environ: Mapping[str, Any],
    ) -> Embedded:
        """Embed texts; ``fields`` are the further ones of the request, ``environ`` is WSGI's."""
        exchange = Exchange(request_id(None), "POST", PATH, caller=session.caller)
        exchange.route, exchange.rule, exchange.client = EMBEDDINGS_ROUTE, _RULE, session.address
        for start_observer in self._start_observers:
            start_observer.started(exchange, environ)
        payload = {"timeout": TIMEOUT_S, **fields, "model": choice.model, "input": list(texts)}
        status = 500
        try:
            self._run(session.caller, exchange, choice, payload, partial(has_left, environ))
            status = 200
        except ClientError as error:
            exchange.error = error
            status = error.status
            drop_tracebacks(error)
        except Exception:  # else the request would count as served
            exchange.error = InternalError("A bug of the proxy: the log has its traceback.")
            raise
        finally:
            exchange.seconds = exchange.elapsed()
            for observer in self._observers:
                observer.finished(exchange, status)
        return Embedded(choice, exchange, exchange.seconds, exchange.outcome, exchange.error)

    def _run(
        self,
        caller: Caller,
        exchange: Exchange,
        choice: Choice,
        payload: dict[str, Any],
        has_client_left: Callable[[], bool],
    ) -> None:
        checked = self._embedder.check(exchange, caller, payload)
        if choice.deployment is None:
            self._embedder.embed(exchange, caller, checked, has_client_left)
            return
        deployment = choice.deployment

        def run(
            request: EmbeddingRequest,
            _: Caller,
            deadline: float,
            has_client_left: Callable[[], bool],
        ) -> Outcome:
            return self._pipeline.run_on(deployment, request, deadline, has_client_left)

        self._embedder.embed(exchange, caller, checked, has_client_left, run)
