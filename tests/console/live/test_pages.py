"""The pages Now and Request without a browser: who may see what, and where figures come from."""

import re

import pytest

from app.observability.live.workers import Answers, Workers
from app.providers import registry
from tests.api.fake import AUTH, FakeProvider
from tests.console.visitor import ADMIN_KEY, Visitor, app_of
from tests.support.settings import KEY, NARROW_KEY


@pytest.fixture
def app(monkeypatch):
    monkeypatch.setattr(registry, "make", lambda _: FakeProvider())
    return app_of()


@pytest.fixture
def admin(app):
    visitor = Visitor(app)
    visitor.log_in(ADMIN_KEY)
    return visitor


def visitor_of(app, key):
    visitor = Visitor(app)
    visitor.log_in(key)
    return visitor


def embed(app, request_id, texts="a text", headers=AUTH, **fields):
    body = {"model": "embed", "input": texts, **fields}
    return app.test_client().post(
        "/v1/embeddings", json=body, headers={**headers, "x-request-id": request_id}
    )


def shown(page, path):
    """Return a value of the page Now."""
    return re.search(rf'data-live="{re.escape(path)}"[^>]*>([^<]*)<', page.text)[1]


def test_page_now_has_figures_and_deployments(app, admin):
    for number in range(3):
        assert embed(app, f"r{number}", ["a", "b"]).status_code == 200
    embed(app, "wrong", [])
    page = admin.get("/console/now")
    assert shown(page, "figures.requests_hour") == "4"
    assert shown(page, "figures.failed_hour") == "1"
    assert shown(page, "models.0.deployments.0.calls_hour") == "3"
    assert shown(page, "models.0.deployments.0.calls_share") == "100 %"
    assert shown(page, "models.0.deployments.0.state") == "ok"
    assert shown(page, "figures.spent_today_from") == "since the server started"
    assert "<code>invalid_request_error</code>" in page.text


def test_spent_today_is_the_ledgers_where_there_is_one(tmp_path):
    usage = {"url": f"sqlite:///{tmp_path}/usage.db", "spool": str(tmp_path / "spool")}
    app = app_of(USAGE=usage)
    spent = app.extensions["services"].spent_today
    spent._reporter.report = lambda key, query: [{"cost": 1_500_000_000}, {"cost": 250_000_000}]
    page = visitor_of(app, ADMIN_KEY).get("/console/now")
    assert shown(page, "figures.spent_today_dollars") == "$1.75"
    assert shown(page, "figures.spent_today_from") == "of the ledger"


def test_worker_that_is_silent_is_said(admin, monkeypatch):
    assert re.search(r'id="silent" hidden', admin.get("/console/now").text)
    ask = Workers.ask
    monkeypatch.setattr(
        Workers, "ask", lambda self, question: Answers(ask(self, question).by_worker, [7])
    )
    assert not re.search(r'id="silent" hidden', admin.get("/console/now").text)
    for path in ("request", "request?id=x"):
        assert "gave no answer in time" in admin.get(f"/console/{path}").text


def test_page_now_is_for_administrators(app):
    visitor = visitor_of(app, KEY)
    assert visitor.get("/console/now").status_code == 403
    assert visitor.get("/console/api/now").status_code == 403


@pytest.mark.parametrize("since", ["x", "nan", "inf", "-inf"])
def test_wrong_since_is_refused(admin, since):
    assert admin.get(f"/console/api/now?since={since}").status_code == 400


def test_key_sees_its_own_requests(app, admin):
    embed(app, "mine")
    for visitor, status in (
        (visitor_of(app, KEY), 200),
        (visitor_of(app, NARROW_KEY), 404),
        (admin, 200),
    ):
        assert visitor.get("/console/request?id=mine").status_code == status
        assert visitor.get("/console/api/requests/mine").status_code == status
        assert ("mine" in visitor.get("/console/request").text) == (status == 200)
        listed = visitor.get("/console/api/requests").json["data"]
        assert [row["id"] for row in listed] == (["mine"] if status == 200 else [])


def test_request_without_a_good_key_is_seen_by_administrators_only(app, admin):
    embed(app, "stranger", headers={"Authorization": "Bearer wrong"})
    assert "invalid_api_key" in admin.get("/console/request?id=stranger").text
    assert visitor_of(app, KEY).get("/console/request?id=stranger").status_code == 404


@pytest.mark.parametrize("show", ["nothing", "newest%00", "<b>"])
def test_wrong_choice_is_refused(admin, show):
    page = admin.get(f"/console/request?show={show}")
    assert page.status_code == 400
    assert "<b>" not in page.text
    assert admin.get(f"/console/api/requests?show={show}").status_code == 400


def test_long_id_is_not_repeated_without_end(admin):
    page = admin.get(f"/console/request?id={'x' * 5000}")
    assert page.status_code == 404
    assert len(page.text) < 10_000


def test_names_are_escaped(app, admin):
    name = "<img src=x>"
    embed(app, "xss", user=name)
    embed(app, "xss", model=name)
    for path in ("request", "request?id=xss", f"request?id={name}"):
        page = admin.get(f"/console/{path}").text
        assert name not in page
        assert "&lt;img src=x&gt;" in page


def test_switched_off_console_observes_nothing(monkeypatch):
    monkeypatch.setattr(registry, "make", lambda _: FakeProvider())
    app = app_of(CONSOLE={"enabled": False})
    assert embed(app, "r").status_code == 200
    assert app.test_client().get("/console/now").status_code == 404
