"""The program ``embeddings-proxy``: the process of `serve`, and the commands."""

import configparser
import os
import sys

import pytest
from click.testing import CliRunner

import app
from app.cli.program import main
from tests.support.server import ROOT


@pytest.fixture
def became(monkeypatch):
    """The arguments of each process that `serve` was replaced by."""
    found = []
    monkeypatch.setattr(os, "execve", lambda program, words, environment: found.append(words))
    return found


def test_serve_passes_options_to_gunicorn(became):
    result = CliRunner().invoke(main, ["serve", "-b", "127.0.0.1:9", "--workers=2", "--help"])
    assert result.exit_code == 0, result.output
    head = [sys.executable, "-m", "gunicorn", "-c", "python:app.server.configuration"]
    assert became == [
        [*head, "-b", "127.0.0.1:9", "--workers=2", "--help", "app.factory:create_app()"]
    ]


@pytest.mark.parametrize("name", ["app", "app.py"])
def test_serve_refuses_a_directory_that_hides_the_package(name, became, tmp_path, monkeypatch):
    (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["serve"])
    assert result.exit_code == 1
    assert str(tmp_path / name) in result.output
    assert became == []


def test_the_program_has_every_command_that_flask_has():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    lines = parser["options.entry_points"]["flask.commands"].split("\n")
    flask = {line.split("=")[0].strip() for line in lines if line.strip()}
    assert set(main.commands) == flask | {"serve"}


def test_the_program_prints_the_version_of_the_package():
    assert app.__version__ in CliRunner().invoke(main, ["--version"]).output
