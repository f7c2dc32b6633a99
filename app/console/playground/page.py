"""The routes of the playground."""

from __future__ import annotations

from collections.abc import Iterable

from flask import request

from app.api.client import ClientAddresses
from app.config import Settings
from app.console.page import Answer, Page, render
from app.console.playground.choices import Choices
from app.console.playground.code import MAX_TEXTS as MAX_CODE_TEXTS
from app.console.playground.code import Example, examples
from app.console.playground.download import MAX_DOWNLOAD_BYTES, file_of
from app.console.playground.embedding import PlaygroundEmbedder
from app.console.playground.form import (
    EXAMPLE,
    MAX_FILE_BYTES,
    MAX_FORM_BYTES,
    MAX_TEXTS,
    Form,
    read_form,
    with_file,
)
from app.console.playground.results import Results, results_of
from app.console.sessions import Session
from app.dispatch.deployments.deployment import Deployment
from app.errors import ClientError
from app.exchange import EXCHANGE


def playground_page(
    settings: Settings,
    embedder: PlaygroundEmbedder,
    deployments: Iterable[tuple[str, Deployment]],
    addresses: ClientAddresses,
) -> Page:
    """Return the page, for every key: with the models that the key may use."""
    page = Page("playground", "Playground")
    choices = Choices(settings, deployments)

    def show(
        session: Session,
        form: Form,
        results: Results | None = None,
        error: ClientError | None = None,
    ) -> Answer:
        status = error.status if error else results.status if results else 200
        return render(
            "playground.html",
            status,
            form=form,
            models=choices.models_of(session.caller),
            deployments=choices.deployments_of(session.caller),
            results=results,
            error=error,
            code=_code(form, results),
            max_texts=MAX_TEXTS,
            max_code_texts=MAX_CODE_TEXTS,
            max_file_bytes=MAX_FILE_BYTES,
        )

    def _code(form: Form, results: Results | None) -> list[Example]:
        if results is None or not results.sides:
            return []
        scheme = "https" if addresses.uses_https(request.environ) else "http"
        model = results.sides[0].embedded.choice.model
        payload = {"model": model, "input": results.texts, **form.fields()}
        return examples(f"{scheme}://{request.host}/v1", payload)

    @page.get()
    def empty(session: Session) -> Answer:
        return show(session, Form(model=choices.first_of(session.caller), texts=EXAMPLE))

    @page.post(max_bytes=MAX_FORM_BYTES)
    def embed(session: Session) -> Answer:
        form = read_form(request.form)
        try:
            form = with_file(form, request.files.get("file"))
            texts = form.checked_lines()
            values = [form.model, form.other] if form.other else [form.model]
            chosen = [choices.find(value, session.caller) for value in values]
        except ClientError as error:
            request.environ[EXCHANGE].error = error
            return show(session, form, error=error)
        embedded = [
            embedder.embed(session, choice, texts, form.fields(), request.environ)
            for choice in chosen
        ]
        return show(session, form, results_of(settings, texts, embedded))

    @page.post("/download", max_bytes=MAX_DOWNLOAD_BYTES)
    def download(_: Session) -> Answer:
        return file_of(request.form.get("kind", ""), request.form.get("vectors", ""))

    return page
