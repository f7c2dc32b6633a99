"""The page Settings: no secret, the origin of each value, the check of the file."""

import re

import pytest

from app.config import check
from app.config.check_process import mistakes
from app.console.settings import page as settings_page
from app.console.settings.values import MAX_ENTRIES, file_of, sections_of
from app.errors import RateLimited
from app.usage.audit_digests import address_without_secrets
from tests.api.fake import error_of, settings
from tests.console.visitor import ADMIN, ADMIN_KEY, HTML, Visitor, app_of
from tests.support.settings import KEY, KEYS

SECRETS = {
    "KEYS": {"tests": KEYS["tests"]},
    "PROVIDERS": {
        "one": {
            "kind": "openai",
            "base_url": "https://user:pass-word-1@host:1/v1?key=pass-word-2",
            "api_key": "pass-word-3",
            "headers": {"x-token": "pass-word-4"},
            "proxy": "http://me:pass-word-5@proxy:2",
        },
        "two": {
            "kind": "bedrock",
            "region": "eu-central-1",
            "access_key_id": "pass-word-6",
            "secret_access_key": "pass-word-7",
        },
    },
    "MODELS": {"m": {"deployments": [{"provider": "one", "model": "x"}]}},
    "CACHE": {"url": "redis://:pass-word-8@host:3/0"},
    "NOTIFY": {"url": "https://host/pass-word-free", "secret": "pass-word-9-and-more"},
    "CONSOLE": {"secret": "pass-word-10-and-more"},
}


def rows(**changes):
    """Setting and name → row, of these settings."""
    sections = sections_of(check({**settings(), **changes}))
    return {f"{s.name}{row.name}": row for s in sections for row in s.rows}


def test_no_secret_is_shown():
    shown = rows(**SECRETS)
    text = str(shown).replace("pass-word-free", "")
    assert "pass-word" not in text
    assert KEYS["tests"]["sha256"] not in text
    assert shown["PROVIDERS['one']['base_url']"].value == "https://host:1/v1"
    assert shown["CACHE['url']"].value == "redis://host:3/0"
    for name in ("PROVIDERS['one']['api_key']", "PROVIDERS['one']['headers']['x-token']"):
        assert (shown[name].value, shown[name].is_secret) == ("hidden", True)
    assert "PROVIDERS['two']['options']['secret_access_key']" in shown


def test_each_setting_is_shown_with_its_value_and_origin(monkeypatch, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import os\nCACHE = {'ttl': float(os.environ['TTL'])}\nLIMITS = {'inputs': 3}\n"
    )
    monkeypatch.setenv("PROXY_SETTINGS", str(file))
    monkeypatch.setenv("TTL", "5")
    shown = rows(CACHE={"ttl": 5}, LIMITS={"inputs": 3})
    assert shown["CACHE['ttl']"][1:3] == ("5", "environment: TTL")
    assert shown["LIMITS['inputs']"][1:3] == ("3", "file")
    assert shown["LIMITS['waiting']"][1:3] == ("1,000", "default")
    assert shown["OIDC"][1:3] == ("None", "default")
    assert shown["MODELS['embed']['pass']"].value == "task"
    assert shown["MODELS['embed']['deployments'][0]['provider']"].value == "fake"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://proxy:planted/secret@db/usage",
        "postgresql://proxy:planted?secret@db/usage",
        "postgresql://proxy:planted#secret@db/usage",
        "postgresql://proxy:planted[secret@db/usage",
        "postgresql://proxy:pla@nted/secret@db/usage",
    ],
)
def test_no_part_of_a_password_is_shown_that_addresses_must_not_have(url):
    """SQLAlchemy takes these addresses; by the rules of URLs the password begins the path."""
    shown = address_without_secrets(url)
    assert not re.search("pla|nted|secret", shown)
    assert shown.startswith("postgresql://")
    assert address_without_secrets("https://host/@cf/x?a=@b") == "https://host/@cf/x"


def test_many_entries_are_left_out():
    deployments = [{"provider": "fake", "model": "x"}]
    many = {f"m{i}": {"deployments": deployments} for i in range(MAX_ENTRIES + 7)}
    checked = check({**settings(), "MODELS": many, "KEYS": {"tests": KEYS["tests"]}})
    (section,) = (s for s in sections_of(checked) if s.name == "MODELS")
    assert section.left_out == 7


def test_file_is_compared_with_what_is_in_force(monkeypatch, tmp_path):
    assert file_of() is None
    file = tmp_path / "mine.py"
    file.write_text("LIMITS = {}")
    monkeypatch.setenv("PROXY_SETTINGS", str(file))
    assert not file_of().is_changed
    with file.open("rb") as kept:  # gunicorn's master keeps the text it has checked
        monkeypatch.setenv("PROXY_SETTINGS_FD", str(kept.fileno()))
        changed = tmp_path / "new.py"
        changed.write_text("LIMITS = {'inputs': 1}")
        changed.replace(file)
        assert file_of().is_changed
        file.unlink()
        assert file_of().is_changed


@pytest.fixture
def found(monkeypatch):
    """What the check of the file finds, without its process."""
    lines = ["LIMITS['inputs']: <b>must be a whole number</b>"]
    monkeypatch.setattr(settings_page, "mistakes", lambda limit_s: lines)
    return lines


@pytest.fixture
def admin():
    visitor = Visitor()
    visitor.log_in(ADMIN_KEY)
    return visitor


def test_mistakes_of_the_file_are_shown(admin, found):
    page = admin.post("/console/settings/check", admin.csrf())
    assert "1 mistake." in page.text
    assert "&lt;b&gt;must be" in page.text
    answer = admin.post("/console/api/settings/check", headers={"x-csrf-token": admin.csrf()})
    assert answer.json == {"object": "list", "data": found}
    found.clear()
    assert "No mistakes" in admin.post("/console/settings/check", admin.csrf()).text


def test_settings_are_for_administrators(found):
    visitor = Visitor()
    visitor.log_in(KEY)
    assert visitor.get("/console/settings").status_code == 403
    assert visitor.post("/console/settings/check", visitor.csrf()).status_code == 403
    answer = visitor.post("/console/api/settings/check", headers={"x-csrf-token": visitor.csrf()})
    assert error_of(answer).code == "admin_required"


def test_names_in_the_settings_are_escaped():
    name = "<script>alert(1)</script>"
    visitor = Visitor(app_of({name: KEYS["tests"], "admin": ADMIN}))
    visitor.log_in(ADMIN_KEY)
    page = visitor.get("/console/settings").text
    assert "&lt;script&gt;alert(1)" in page
    assert name not in page


def test_check_waits_for_one_that_runs_and_takes_its_result(monkeypatch):
    check = settings_page.FileCheck()
    monkeypatch.setattr(settings_page, "mistakes", lambda limit_s: ["first"])
    assert check.run() == ["first"]
    monkeypatch.setattr(settings_page, "CHECK_LIMIT_S", 0.01)
    with check._lock, pytest.raises(RateLimited):
        check.run()


def test_check_is_that_of_a_reload_and_bounded():
    assert settings_page.mistakes is mistakes
    assert settings_page.CHECK_LIMIT_S <= 30


def test_page_needs_no_script(admin):
    text = admin.get("/console/settings", **HTML).text
    assert '<form method="post" action="../console/settings/check">' in text
