"""``make run``: gunicorn with defaults for development, which the environment overrides."""

import os
import re
import sys

import pytest

from app.cli import development
from app.console import start
from app.console.start import CODE_VARIABLE


@pytest.fixture
def become(monkeypatch):
    """Return arguments and environment of the process that replaces this one."""

    def run(**environment):
        became = []
        monkeypatch.setattr(os, "environ", environment)
        monkeypatch.setattr(os, "execve", lambda *what: became.append(what))
        development.main()
        ((program, arguments, given),) = became
        assert program == arguments[0] == sys.executable
        return arguments, given

    return run


def without_code(environment):
    """Return an environment without the one-time code."""
    return {name: value for name, value in environment.items() if name != CODE_VARIABLE}


def test_defaults_are_loopback_and_a_key_that_is_printed_once(become, capsys):
    arguments, environment = become()
    assert arguments[1:] == [
        "-m",
        "gunicorn",
        "-c",
        "deploy/gunicorn.conf.py",
        "-b",
        "127.0.0.1:8000",
        "wsgi:app",
    ]
    assert without_code(environment) == {
        "LOG_FORMAT": "human",
        "WEB_CONCURRENCY": "1",
        "ALPHANEURAL_API_KEY": "sk-local-development",
    }
    assert capsys.readouterr().out.count("sk-local-development") == 1


def test_environment_overrides_development_defaults(become, capsys):
    arguments, environment = become(
        PORT="9000", LOG_FORMAT="json", WEB_CONCURRENCY="3", ALPHANEURAL_API_KEY="sk-mine"
    )
    assert "127.0.0.1:9000" in arguments
    assert (environment["LOG_FORMAT"], environment["WEB_CONCURRENCY"]) == ("json", "3")
    assert environment["ALPHANEURAL_API_KEY"] == "sk-mine"
    assert "sk-" not in capsys.readouterr().out


def test_no_development_key_with_a_settings_file(become, capsys):
    _, environment = become(PROXY_SETTINGS="mine.py")
    assert "ALPHANEURAL_API_KEY" not in environment
    assert "sk-" not in capsys.readouterr().out


def test_link_to_the_console_has_a_code_that_only_its_workers_take(become, capsys, tmp_path):
    _, environment = become(PORT="9000", PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    printed = capsys.readouterr().out
    (code,) = re.findall(
        r"http://127\.0\.0\.1:9000/console/login\?next=playground&code=(\S+)", printed
    )
    assert code not in str(environment)
    assert not start.take_code(code)
    os.environ.update(environment)
    assert start.take_code(code)
    assert not start.take_code(code)


def test_empty_port_means_the_default(become):
    assert "127.0.0.1:8000" in become(PORT="")[0]
