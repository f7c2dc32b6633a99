"""The console's routes: who may see what, the CSRF token, the headers, what is switched off."""

import io
import re

import pytest
from flask import Response, request

from app.api.client import ClientAddresses
from app.auth.authenticator import Authenticator, Keyring
from app.config import check
from app.console.console import Console
from app.console.page import MAX_FORM_BYTES, Page, redirect, render
from app.errors import BadRequest
from tests.api.fake import AUTH, error_of, settings
from tests.console.visitor import ADMIN, ADMIN_KEY, HTML, Visitor, app_of
from tests.support.settings import KEY, KEYS


def an_app(*pages):
    """An app whose console has these pages."""
    app = app_of(CONSOLE={"enabled": False})
    checked = check(settings(KEYS={**KEYS, "admin": ADMIN}))
    authenticator = Authenticator(Keyring(checked.keys.values()))
    console = Console(checked, authenticator, ClientAddresses(), pages)
    blueprint = console.blueprint()
    blueprint.name = "another"
    app.register_blueprint(blueprint)
    return app


@pytest.fixture
def changes():
    """What the page of `visitor` has changed."""
    return []


@pytest.fixture
def visitor(changes):
    open_page, closed = Page("keys", "Keys"), Page("now", "Now", admin_only=True)

    @open_page.get()
    def listing(session):
        return render("home.html")

    @open_page.post("/<name>/revoke")
    def revoke(session, name):
        changes.append((session.actor, name))
        return redirect("keys", f"The key {name} is <revoked>.")

    @open_page.post("/note")
    def note(session):
        changes.append(request.form.get("text"))
        return redirect("keys")

    @open_page.api("keys", "POST")
    def api(session):
        changes.append(session.caller.name)
        return {"object": "key"}

    @open_page.get("/wrong")
    def wrong(session):
        raise BadRequest("Something <b>is</b> wrong.")

    @open_page.get("/file.csv")
    def download(session):
        return Response("a,b", content_type="text/csv")

    @closed.get()
    def now(session):
        return render("home.html")

    return Visitor(an_app(open_page, closed))


def test_stranger_is_led_to_the_login(visitor, changes):
    for path in ("/console", "/console/keys", "/console/now", "/console/no/such/page"):
        answer = visitor.get(path)
        assert answer.status_code == 303
        assert re.match(r"[./]*console/login", answer.headers["Location"])
    assert visitor.get("/console/keys?a=b").headers["Location"].endswith("?next=keys%3Fa%3Db")
    assert visitor.post("/console/keys/x/revoke").headers["Location"].endswith("console/login")
    error = error_of(visitor.post("/console/api/keys"))
    assert (error.status, error.code) == (401, "invalid_api_key")
    assert not changes


def test_plain_key_sees_and_opens_only_its_pages(visitor):
    visitor.log_in(KEY)
    page = visitor.get("/console/keys")
    assert page.status_code == 200
    assert re.findall(r'<li><a href="[^"]*/([a-z]+)"', page.text) == ["keys"]
    refused = visitor.get("/console/now")
    assert (refused.status_code, "admin_required" in refused.text) == (403, True)
    assert refused.content_type.startswith("text/html")


def test_administrator_sees_all_pages_in_their_order(visitor):
    visitor.log_in(ADMIN_KEY)
    page = visitor.get("/console/now")
    assert page.status_code == 200
    assert re.findall(r'<li><a href="[^"]*/([a-z]+)"', page.text) == ["now", "keys"]
    assert page.text.count("aria-current") == 1
    assert visitor.get("/console").headers["Location"] == "console/now"


def test_change_with_the_csrf_token_is_made_and_told_once(visitor, changes):
    visitor.log_in()
    answer = visitor.post("/console/keys/x/revoke", visitor.csrf())
    assert (answer.status_code, answer.headers["Location"]) == (303, "../../../console/keys")
    assert changes == [("key:tests", "x")]
    assert "The key x is &lt;revoked&gt;." in visitor.get("/console/keys").text
    assert "revoked" not in visitor.get("/console/keys").text


@pytest.mark.parametrize("given", ["", "0" * 64, "é"])
def test_change_without_the_csrf_token_is_refused(visitor, changes, given):
    visitor.log_in()
    answer = visitor.post("/console/keys/x/revoke", given)
    assert (answer.status_code, "csrf_token_wrong" in answer.text) == (403, True)
    answer = visitor.post("/console/api/keys", headers={"x-csrf-token": given or "no"})
    assert error_of(answer).code == "csrf_token_wrong"
    assert not changes


def test_csrf_token_of_another_session_is_refused(visitor, changes):
    other = Visitor(visitor.client.application)
    other.log_in()
    visitor.log_in()
    assert visitor.post("/console/keys/x/revoke", other.csrf()).status_code == 403
    assert not changes


def test_change_that_another_site_sends_is_refused(visitor, changes):
    visitor.log_in()
    token = visitor.csrf()
    headers = {**HTML, "Sec-Fetch-Site": "cross-site"}
    assert visitor.post("/console/keys/x/revoke", token, headers).status_code == 403
    assert visitor.post("/console/login", headers=headers, key=KEY).status_code == 403
    assert not changes


def test_script_sends_the_csrf_token_in_a_header(visitor, changes):
    visitor.log_in()
    answer = visitor.post("/console/api/keys", headers={"x-csrf-token": visitor.csrf()})
    assert (answer.status_code, answer.json) == (200, {"object": "key"})
    assert changes == ["tests"]


def test_large_form_is_refused(visitor, changes):
    visitor.log_in()
    answer = visitor.post("/console/keys/x/revoke", visitor.csrf(), more="x" * MAX_FORM_BYTES)
    assert answer.status_code == 413
    assert not changes


def test_large_form_of_a_script_is_refused(visitor, changes):
    """Its token is in a header, so that the view is the first to read the form."""
    visitor.log_in()
    headers = {"x-csrf-token": visitor.csrf(), "Accept": "text/html"}
    answer = visitor.post("/console/keys/note", headers=headers, text="x" * MAX_FORM_BYTES)
    assert (answer.status_code, "too large" in answer.text) == (413, True)
    assert not changes


@pytest.mark.parametrize("path", ["/console/keys/note", "/console/login"])
def test_form_without_a_length_is_refused_and_not_cut(visitor, changes, path):
    """Of one that is too large, werkzeug reads the beginning only: fields would be missing."""
    visitor.log_in()
    form = f"csrf={visitor.csrf()}&key={KEY}&more={'x' * MAX_FORM_BYTES}&text=lost".encode()
    answer = visitor.client.post(
        path,
        input_stream=io.BytesIO(form),
        headers={"Transfer-Encoding": "chunked", "Accept": "text/html"},
        content_type="application/x-www-form-urlencoded",
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert (answer.status_code, "Content-Length" in answer.text) == (400, True)
    assert not changes


def test_error_of_a_view_is_a_page_and_json_for_scripts(visitor):
    visitor.log_in()
    page = visitor.get("/console/keys/wrong")
    assert page.status_code == 400
    assert "Something &lt;b&gt;is&lt;/b&gt; wrong." in page.text
    error = error_of(visitor.get("/console/keys/wrong", Accept="application/json"))
    assert error.message == "Something <b>is</b> wrong."


def test_every_answer_has_the_policy_and_is_not_cached(visitor):
    visitor.log_in()
    for path in ("/console", "/console/keys", "/console/keys/file.csv", "/console/none"):
        headers = visitor.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"


def test_no_page_has_a_script_or_style_of_its_own(visitor):
    visitor.log_in()
    for path in ("/console/keys", "/console/login", "/console/none"):
        text = visitor.get(path).text
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text)
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))


def test_static_files_are_cached_by_their_hash(visitor):
    page = visitor.get("/console/login").text
    names = re.findall(r'(?:src|href)="\.\./(console/static/[^"]+)"', page)
    assert len(names) == 4
    for name in names:
        answer = visitor.get(f"/{name}")
        assert answer.status_code == 200
        assert "immutable" in answer.headers["Cache-Control"]
    of_another_version = re.sub("static/[^/]+/", "static/0/", names[1])
    assert visitor.get(f"/{of_another_version}").headers["Cache-Control"] == "no-store"
    for name in ("console.py", "../page.py", "docs.html", "vendor", "vendor/VENDORED.md"):
        assert visitor.get(f"/console/static/0/{name}").status_code == 404


def test_pages_work_below_a_prefix(visitor):
    visitor.log_in()
    for path in ("/console/keys", "/console/keys/", "/console/no/such/page"):
        text = visitor.get(path).text
        assert not re.search(r'(?:src|href|action)="(?:/|https?:)', text)


def test_console_can_be_disabled():
    visitor = Visitor(app_of(CONSOLE={"enabled": False}))
    for path in ("/console", "/console/login", "/console/static/0/console.css"):
        assert error_of(visitor.get(path)).code == "not_found"
    root = visitor.get("/")
    assert (root.status_code, "console" in root.json) == (200, False)


def test_session_is_of_no_use_for_the_api(visitor):
    visitor.log_in(ADMIN_KEY)
    assert error_of(visitor.get("/v1/models")).status == 401
    assert visitor.get("/v1/models", **AUTH).status_code == 200
