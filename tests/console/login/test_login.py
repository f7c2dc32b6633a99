"""Logging in and out: the cookie, keys that are refused, and the page that follows."""

import hashlib
import secrets
import time

import pytest

from app.auth.authenticator import Authenticator
from app.console.login.attempts import MAX_FAILURES
from app.console.login.login import inside
from app.console.responses import SESSION_COOKIE
from tests.console.visitor import Visitor, app_of
from tests.support.settings import KEY


def test_cookie_is_for_this_site_alone_and_holds_no_key():
    visitor = Visitor()
    (cookie,) = visitor.log_in().headers.getlist("Set-Cookie")
    assert cookie.startswith(f"{SESSION_COOKIE}=")
    for attribute in ("HttpOnly", "SameSite=Strict", "Path=/console"):
        assert attribute in cookie
    assert "Secure" not in cookie
    for secret in (KEY, hashlib.sha256(KEY.encode()).hexdigest()):
        assert secret not in cookie
    assert "Secure" in Visitor(secure=True).log_in().headers["Set-Cookie"]


def test_cookie_is_secure_where_a_trusted_proxy_speaks_https():
    forwarded = {"X-Forwarded-Proto": "https"}
    for trusted, expected in ((["127.0.0.1"], True), ([], False)):
        client = app_of(TRUSTED_PROXIES=trusted).test_client()
        answer = client.post("/console/login", data={"key": KEY}, headers=forwarded)
        assert ("Secure" in answer.headers["Set-Cookie"]) is expected


@pytest.mark.parametrize("given", ["", "sk-wrong", "a.b.c", "é", "x" * 20_000])
def test_wrong_key_is_a_401_and_no_session(given):
    visitor = Visitor()
    answer = visitor.log_in(given)
    assert answer.status_code == 401
    assert "This key is not known" in answer.text
    assert given == "" or given not in answer.text
    assert not visitor.is_logged_in()


def test_log_out_ends_the_session_in_this_browser():
    visitor = Visitor()
    visitor.log_in()
    assert visitor.is_logged_in()
    visitor.post("/console/logout", visitor.csrf())
    assert not visitor.is_logged_in()


def test_token_with_too_many_claims_is_told_so_and_is_no_failed_attempt(monkeypatch):
    claims = {"end": time.time() + 60, "claims": {"groups": secrets.token_hex(4000)}}
    monkeypatch.setattr(Authenticator, "remember", lambda *_: claims)
    visitor = Visitor()
    for _ in range(MAX_FAILURES + 1):
        answer = visitor.log_in()
        assert (answer.status_code, "claims are too long" in answer.text) == (400, True)


@pytest.mark.parametrize(
    "path",
    ["//evil.example", "https://evil.example", "/\\evil", "../v1", "javascript:x", "\n", "", None],
)
def test_login_leads_only_into_the_console(path):
    assert inside(path) == ""


@pytest.mark.parametrize("path", ["keys", "keys/a-b", "use?by=key&since=7d"])
def test_login_leads_to_the_page_that_was_asked_for(path):
    assert inside(path) == path
    answer = Visitor().log_in(path=f"/console/login?next={path.replace('&', '%26')}")
    assert answer.headers["Location"] == f"../console/{path}"


def test_link_of_another_site_is_sent_on_by_a_page_of_this_one():
    visitor = Visitor()
    page = visitor.get("/console/keys?a=b", **{"Sec-Fetch-Site": "cross-site"})
    assert page.status_code == 200
    assert 'content="0; url=../console/login?next=keys%3Fa%3Db"' in page.text
    visitor.log_in()
    answer = visitor.get("/console/login?next=keys")
    assert (answer.status_code, answer.headers["Location"]) == (303, "../console/keys")
