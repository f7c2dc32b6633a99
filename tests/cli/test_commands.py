"""Commands for operators: output, output stream, exit code."""

import ast
import hashlib
import re

import pytest
from click.testing import CliRunner

from app import config
from app.cli.commands import check_settings, new_key
from tests.overlays import environment, overlay

__all__ = ["environment", "overlay"]  # fixtures


def run(command, *arguments):
    return CliRunner().invoke(command, arguments)


def test_good_settings_are_counted(overlay):
    overlay("")
    result = run(check_settings)
    assert result.exit_code == 0
    assert result.stdout == "The settings are good: 1 models, 1 providers, 1 keys.\n"
    assert result.stderr == ""


def test_mistakes_are_printed_to_stderr_one_on_each_line(overlay):
    overlay.path.write_text('CACHE = {"ttl": 0}\nLIMITS = {"input": 1}\n')
    result = run(check_settings)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (
        "CACHE['ttl']: must be greater than 0\n"
        "LIMITS['input']: unknown setting (did you mean 'inputs'?)\n"
    )


def test_settings_are_not_run_again_after_the_check_timed_out(overlay, monkeypatch):
    overlay("")
    monkeypatch.setattr("app.config.check_process.mistakes", lambda: ["it took too long"])
    monkeypatch.setattr(config, "load", None)
    result = run(check_settings)
    assert (result.exit_code, result.stderr) == (1, "it took too long\n")


def test_check_settings_creates_no_provider_and_no_app(overlay, monkeypatch):
    monkeypatch.setattr("app.providers.registry.make", None)
    monkeypatch.setattr("app.factory.create_app", None)
    overlay("")
    assert run(check_settings).exit_code == 0


@pytest.mark.parametrize("name", ["search-team", "it's", 'a "b"', "ключ", "back\\slash"])
def test_a_new_key_is_printed_once_with_its_line_for_the_settings(name):
    result = run(new_key, "--", name)
    assert result.exit_code == 0
    (key,) = re.findall(r"sk-[\w-]+", result.stdout)
    assert f"\n    {key}\n" in result.stdout

    line = result.stdout.splitlines()[-1]
    entries = ast.literal_eval("{" + line + "}")
    assert entries == {name: {"sha256": hashlib.sha256(key.encode()).hexdigest(), "models": ["*"]}}
    assert key not in line


def test_the_printed_line_of_a_new_key_is_a_valid_setting(overlay):
    line = run(new_key, "team").stdout.splitlines()[-1]
    assert list(overlay(f"KEYS = {{\n{line}\n}}\n").keys) == ["team"]


def test_two_new_keys_differ():
    assert run(new_key, "a").stdout != run(new_key, "a").stdout


def test_a_new_key_needs_a_name():
    assert run(new_key).exit_code == 2


def test_new_key_needs_no_settings(monkeypatch):
    monkeypatch.setattr(config, "load", None)
    assert run(new_key, "first").exit_code == 0


def test_flask_finds_the_commands():
    """By entry points, so that they work if no app can be created."""
    from importlib.metadata import entry_points

    found = {entry.name: entry.load() for entry in entry_points(group="flask.commands")}
    assert found["check-settings"] is check_settings
    assert found["new-key"] is new_key
