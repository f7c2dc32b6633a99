"""Logging in and out: sessions end with their key, attempts are limited, the code of make run."""

import hashlib
import ipaddress
import secrets
import sys
import threading
import time

import pytest
from cachetools import LRUCache
from hypothesis import assume, given
from hypothesis import strategies as st
from itsdangerous import URLSafeSerializer

from app.auth.authenticator import Authenticator, networks
from app.auth.blocklist import Blocklist
from app.auth.keys import Keyring
from app.config import KeySettings
from app.console import start
from app.console.login import attempts as login_attempts
from app.console.login.attempts import MAX_FAILURES, WINDOW_S, LoginAttempts
from app.console.login.login import inside
from app.console.responses import SESSION_COOKIE
from app.console.sessions import LIFETIME_S, Sessions
from app.domain import Caller
from app.errors import KeyBlocked, NetworkNotAllowed, Unauthorized
from tests.console.visitor import ADMIN, ADMIN_KEY, Visitor, app_of
from tests.support.settings import KEY, KEYS, key

SECRET = "a secret of the tests' own"
ADDRESS = ipaddress.ip_address("192.0.2.1")


def sessions(keys=None, secret=SECRET, clock=time.time, blocked=()):
    """Sessions for the keys of `KEYS`, or for others."""
    known = [KeySettings(name, k["sha256"], None) for name, k in (keys or KEYS).items()]
    return Sessions(Authenticator(Keyring(known), blocklist=Blocklist(blocked)), secret, clock)


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


def test_blocked_key_gets_no_session_and_loses_the_one_it_has():
    visitor = Visitor(app_of(BLOCKED_KEYS=["tests"]))
    assert (answer := visitor.log_in()).status_code == 403
    assert "This key is blocked" in answer.text
    token, _ = sessions().begin(KEY, None)
    with pytest.raises(KeyBlocked):
        sessions(blocked=["tests"]).check(token, None)


def test_log_out_ends_the_session_in_this_browser():
    visitor = Visitor()
    visitor.log_in()
    assert visitor.is_logged_in()
    visitor.post("/console/logout", visitor.csrf())
    assert not visitor.is_logged_in()


@pytest.mark.parametrize(
    "keys",
    [
        {"other": KEYS["tests"]},  # renamed
        {"tests": key("sk-another", "*")},  # rotated
        {"narrow": KEYS["narrow"]},  # removed
    ],
)
def test_session_ends_where_its_key_is_gone(keys):
    token, _ = sessions().begin(KEY, None)
    assert sessions().check(token, None).caller.name == "tests"
    with pytest.raises(Unauthorized):
        sessions(keys).check(token, None)


def test_session_ends_after_eight_hours():
    now = [1e9]
    made = sessions(clock=lambda: now[0])
    token, ends = made.begin(KEY, None)
    assert ends == now[0] + LIFETIME_S
    now[0] = ends - 1
    assert made.check(token, None).caller.name == "tests"
    now[0] = ends
    with pytest.raises(Unauthorized):
        made.check(token, None)


def test_session_is_taken_by_each_worker_with_the_secret_and_by_no_other(monkeypatch):
    token, _ = sessions().begin(KEY, None)
    assert sessions().check(token, None).csrf == sessions().check(token, None).csrf
    with pytest.raises(Unauthorized):
        sessions(secret="another secret of the tests").check(token, None)
    monkeypatch.setenv(start.SECRET_VARIABLE, SECRET)
    assert sessions(secret=None).check(token, None)
    monkeypatch.delenv(start.SECRET_VARIABLE)
    with pytest.raises(Unauthorized):
        sessions(secret=None).check(token, None)


@given(st.floats(0, 1, exclude_max=True), st.sampled_from("ABCdef123-_."))
def test_changed_token_is_no_session(share, letter):
    token, _ = sessions().begin(KEY, None)
    place = int(share * (len(token) - 1))  # not the last character, which has unused bits
    changed = token[:place] + letter + token[place + 1 :]
    assume(changed != token)
    with pytest.raises(Unauthorized):
        sessions().check(changed, None)


@given(st.text())
def test_any_text_is_no_session(text):
    with pytest.raises(Unauthorized):
        sessions().check(text, None)


def test_message_of_another_purpose_is_no_session():
    """One secret signs sessions and messages, each with a salt of its own."""
    signed = sessions().sign_message("x", failed=False)
    assert sessions().read_message(signed) == ("x", False)
    with pytest.raises(Unauthorized):
        sessions().check(signed, None)
    assert sessions().read_message(URLSafeSerializer("x").dumps(["x", False])) is None


def test_session_follows_the_rights_of_its_key():
    visitor = Visitor(app_of(CONSOLE={"secret": SECRET}))
    visitor.log_in(ADMIN_KEY)
    assert visitor.get("/console/settings").status_code == 200
    demoted = app_of({"admin": {**ADMIN, "admin": False}}, CONSOLE={"secret": SECRET})
    other = Visitor(demoted)
    cookie = visitor.client.get_cookie(SESSION_COOKIE, path="/console")
    other.client.set_cookie(SESSION_COOKIE, cookie.value, path="/console")
    assert other.get("/console/settings").status_code == 403


def test_token_with_too_many_claims_is_told_so_and_is_no_failed_attempt(monkeypatch):
    claims = {"end": time.time() + 60, "claims": {"groups": secrets.token_hex(4000)}}
    monkeypatch.setattr(Authenticator, "remember", lambda *_: claims)
    visitor = Visitor()
    for _ in range(MAX_FAILURES + 1):
        answer = visitor.log_in()
        assert (answer.status_code, "claims are too long" in answer.text) == (400, True)


def test_attempts_of_an_address_are_limited():
    visitor = Visitor()
    for _ in range(MAX_FAILURES):
        assert visitor.log_in("sk-wrong").status_code == 401
    answer = visitor.log_in(KEY)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= WINDOW_S + 1
    elsewhere = visitor.log_in(KEY, environ_base={"REMOTE_ADDR": "192.0.2.7"})
    assert elsewhere.status_code == 303


def test_attempts_are_counted_by_window_and_subnet():
    now = [0.0]
    attempts = LoginAttempts(lambda: now[0])
    first, neighbour, other = map(
        ipaddress.ip_address, ("2001:db8::1", "2001:db8::2", "2001:db9::1")
    )
    for _ in range(MAX_FAILURES):
        assert attempts.wait_s(neighbour) == 0
        attempts.count_failure(first)
    assert attempts.wait_s(neighbour) == WINDOW_S
    assert attempts.wait_s(other) == attempts.wait_s(None) == 0
    now[0] = float(WINDOW_S)
    assert attempts.wait_s(first) == 0


def test_attempts_at_the_same_time_are_all_counted():
    attempts = LoginAttempts(lambda: 0.0)
    name, number, interval = str(ADDRESS), 3000, sys.getswitchinterval()
    threads = [
        threading.Thread(target=lambda: [attempts.count_failure(ADDRESS) for _ in range(number)])
        for _ in range(4)
    ]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(interval)
    assert attempts._failures[name] == (0, 4 * number)


def test_attempts_are_remembered_of_a_bounded_number_of_addresses(monkeypatch):
    monkeypatch.setattr(login_attempts, "MAX_ADDRESSES_REMEMBERED", 10)
    attempts = LoginAttempts()
    for i in range(100):
        attempts.count_failure(ipaddress.ip_address(i))
    assert isinstance(attempts._failures, LRUCache)
    assert len(attempts._failures) == 10


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


class BoundSource:
    """A table with one key, which is bound to a network."""

    def identify(self, key):
        return Caller("bound"), networks(["10.0.0.0/8"])

    def remember(self, key, seal):
        return {"name": "bound", "seal": ""}

    def recall(self, remembered, seal):
        return self.identify("")


def test_session_is_of_no_use_outside_the_networks_of_its_key():
    bound = Sessions(Authenticator(Keyring([]), [BoundSource()]), SECRET)
    inside_network = ipaddress.ip_address("10.1.2.3")
    with pytest.raises(NetworkNotAllowed):
        bound.begin("sk-any", ADDRESS)
    token, _ = bound.begin("sk-any", inside_network)
    assert bound.check(token, inside_network).caller.name == "bound"
    with pytest.raises(NetworkNotAllowed):
        bound.check(token, ADDRESS)
