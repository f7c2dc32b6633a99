"""The page Playground: embeds as a request of the session's key, and shows errors in place."""

import html
import json
import re

import numpy as np
import pytest

from app.errors import InternalError, Rejected
from tests.api.fake import WIDTH
from tests.console.playground.player import (
    MARKUP,
    POOR_KEY,
    TEXTS,
    Player,
    alert_of,
    file_of,
)
from tests.console.visitor import Visitor
from tests.support.settings import KEY, NARROW_KEY
from tests.support.vectors import vector


def test_vectors_are_those_of_the_texts(player, provider):
    page = player.embed()
    assert page.status_code == 200
    given = json.loads(player.download(page, "json").data)
    assert [one["text"] for one in given["data"]] == TEXTS
    expected = [vector(text, WIDTH) for text in TEXTS]
    assert np.allclose([one["embedding"] for one in given["data"]], expected)
    assert provider.items == TEXTS
    response = player.download(page, "csv")
    assert response.headers["Content-Type"].startswith("text/csv")
    assert response.headers["Content-Disposition"].startswith("attachment")


def test_request_is_counted_and_logged_like_one_to_the_api(player, log):
    page = player.embed()
    assert log.embeddings == [("tests", "embed", 200, True)]
    exchange = next(e for e, _ in log.seen if e.route == "api.embeddings")
    assert exchange.path == "/console/playground/embeddings"
    assert exchange.rule == "/v1/embeddings"
    assert exchange.request.timeout == 30
    assert exchange.id in page.text


def test_fields_reach_the_provider(player, provider):
    player.embed(["a"], input_type="query", dimensions=str(WIDTH), user="bob")
    (call,) = provider.calls
    assert (call.input_type, list(call.items)) == ("query", ["a"])


def test_cache_is_used_where_it_is_asked_for(player, provider):
    for _ in range(2):
        page = player.embed(caching="on")
    assert len(provider.calls) == 1
    assert "<dd>hit" in page.text
    player.embed()
    assert len(provider.calls) == 2


def test_texts_are_lines_without_empty_ones(player, provider):
    player.embed(["a", "", "  ", "b\u2028c", "a"])
    assert provider.items == ["a", "b\u2028c", "a"]


def test_file_takes_the_place_of_the_texts(player, provider):
    page = player.embed(file=file_of("\ufefföne\r\ntwo".encode(), f"{MARKUP}.txt"))
    assert provider.items == ["öne", "two"]
    assert MARKUP not in page.text
    assert "öne\r\ntwo</textarea>" in page.text


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff\xfe", "no text in UTF-8"), (b"", "There is no text"), (b"x" * (2**20 + 1), "larger")],
)
def test_bad_files_are_refused_in_place(player, provider, content, message):
    page = player.embed(file=file_of(content))
    assert page.status_code == 400
    assert message in alert_of(page)
    assert not provider.calls


def test_form_over_its_limit_is_refused(player):
    page = player.embed(["x" * (2**20 + 2**17)])
    assert page.status_code == 413
    assert "too large" in page.text


def test_too_many_texts_are_refused_and_kept_in_the_form(player, provider):
    page = player.embed(["again"] * 501)
    assert page.status_code == 400
    assert "At most 500 texts" in alert_of(page)
    assert page.text.count("again") == 501
    assert not provider.calls
    assert player.embed(["a"] * 500).status_code == 200


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"model": "none"}, 404, "The model `none` does not exist"),
        ({"dimensions": "many"}, 400, "expected an integer"),
        ({"dimensions": "0"}, 400, "Must be at least 1"),
        ({"dimensions": "9" * 30}, 400, "expected an integer"),
        ({"input_type": "other"}, 400, "Supported values"),
        ({"user": "mallory"}, 403, "This user is blocked"),
    ],
)
def test_refusals_of_the_api_are_shown_in_place(player, provider, log, fields, status, message):
    page = player.embed(**fields)
    assert page.status_code == status
    assert message in alert_of(page)
    assert html.escape(TEXTS[0]) in page.text
    assert not provider.calls
    assert log.embeddings[0][2:] == (status, False)


def test_failure_of_the_provider_is_shown_in_place(player, provider, log):
    provider.fail = Rejected("your input is bad")
    page = player.embed()
    assert (page.status_code, "your input is bad" in alert_of(page)) == (400, True)
    assert isinstance(log.seen[-2][0].error, Exception)


def test_key_sees_and_uses_its_models_alone(app, provider):
    player = Player(app, NARROW_KEY)
    page = player.get("/console/playground").text
    assert re.findall('<option value="([^"]+)"', page.partition("Side by side")[0]) == ["steady"]
    assert player.embed(model="steady").status_code == 200
    refused = player.embed(model="embed")
    assert refused.status_code == 403
    assert "may not use the model `embed`" in alert_of(refused)


def test_limits_of_the_key_apply(app, provider, log):
    player = Player(app, POOR_KEY)
    assert player.embed().status_code == 200
    page = player.embed()
    assert page.status_code == 429
    assert "Rate limit reached" in alert_of(page)
    assert "rate_limit_exceeded" in page.text
    assert len(provider.calls) == 1
    assert [status for *_, status, _ in log.embeddings] == [200, 429]


def test_one_text_has_numbers_and_no_drawings(player):
    page = player.embed(["alone"])
    assert page.status_code == 200
    assert '<svg viewBox="0 0 440' not in page.text


def test_nothing_of_the_key_is_in_the_page(player):
    page = player.embed()
    assert KEY not in page.text
    assert "$PROXY_KEY" in page.text
    assert "http://localhost/v1/embeddings" in page.text


def test_texts_are_escaped_everywhere(player):
    page = player.embed(user='"><img src=x>', dimensions='"><img src=x>')
    assert "<img" not in page.text
    page = player.embed()
    assert MARKUP not in page.text
    assert html.escape(MARKUP, quote=False).split("'")[0] in page.text
    assert " style=" not in page.text


def test_form_needs_its_token_and_a_session(app, player):
    assert player.post("/console/playground", "wrong", model="embed").status_code == 403
    assert player.post("/console/playground/download", "wrong").status_code == 403
    stranger = Visitor(app)
    assert stranger.post("/console/playground", "").status_code == 303


def test_form_begins_with_an_example(player):
    page = player.get("/console/playground").text
    assert "I forgot my password" in page


def test_bug_is_an_error_in_the_record_of_the_request(player, log, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr("app.api.embedder.Embedder.embed", fail)
    assert player.embed().status_code == 500
    ((status, error),) = [(s, e.error) for e, s in log.seen if e.route == "api.embeddings"]
    assert (status, type(error)) == (500, InternalError)
