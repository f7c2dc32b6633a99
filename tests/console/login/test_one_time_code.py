"""The one-time code of ``make run``."""

import time
from types import SimpleNamespace

import pytest

from app.console import start
from tests.console.visitor import Visitor


@pytest.fixture
def code(monkeypatch, tmp_path):
    """The code of a server that ``make run`` has started."""
    made, value = start.new_code()
    monkeypatch.setenv(start.CODE_VARIABLE, value)
    monkeypatch.setenv(start.DIRECTORY_VARIABLE, str(tmp_path))
    return made


def test_code_of_make_run_is_good_once_in_all_workers(code):
    first, second = Visitor(), Visitor()
    ahead = first.get(f"/console/login?code={code}", **{"Sec-Purpose": "prefetch"})
    assert (ahead.status_code, first.is_logged_in()) == (200, False)
    answer = first.get(f"/console/login?next=playground&code={code}")  # as `make run` prints it
    assert (answer.status_code, answer.headers["Location"]) == (303, "../console/playground")
    assert first.get("/console/settings").status_code == 200  # with an administrator's rights
    again = second.get(f"/console/login?code={code}")
    assert again.status_code == 401
    assert not second.is_logged_in()


def test_wrong_code_does_not_use_up_the_right_one(code):
    visitor = Visitor()
    assert visitor.get("/console/login?code=x").status_code == 401
    assert visitor.get(f"/console/login?code={code}").status_code == 303


def test_another_site_can_neither_use_a_code_nor_lock_an_address_out(code):
    visitor = Visitor()
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    for tried in ["x"] * 20 + [code]:
        answer = visitor.get(f"/console/login?code={tried}", **elsewhere)
        assert (answer.status_code, visitor.is_logged_in()) == (200, False)
    assert visitor.get(f"/console/login?code={code}").status_code == 303


def test_code_expires(code):
    later = SimpleNamespace(now=time.time() + start.CODE_LIFETIME_S + 1)
    assert not start.take_code(code, lambda: later.now)
    assert start.take_code(code)


@pytest.mark.parametrize("code", ["", "x", ":", "é"])
def test_server_that_make_run_has_not_started_takes_no_code(code, monkeypatch, tmp_path):
    monkeypatch.delenv(start.CODE_VARIABLE, raising=False)
    monkeypatch.setenv(start.DIRECTORY_VARIABLE, str(tmp_path))
    assert not start.take_code(code)
