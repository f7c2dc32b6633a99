"""Sessions end with their key, and no other text is one."""

import ipaddress
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from itsdangerous import URLSafeSerializer

from app.auth.authenticator import Authenticator, Keyring, networks
from app.auth.blocklist import Blocklist
from app.config import KeySettings
from app.console import start
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


def test_blocked_key_gets_no_session_and_loses_the_one_it_has():
    visitor = Visitor(app_of(BLOCKED_KEYS=["tests"]))
    assert (answer := visitor.log_in()).status_code == 403
    assert "This key is blocked" in answer.text
    token, _ = sessions().begin(KEY, None)
    with pytest.raises(KeyBlocked):
        sessions(blocked=["tests"]).check(token, None)


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
