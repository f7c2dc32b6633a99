"""The check of settings builds the app in a process of its own; any failure is a mistake."""

import subprocess
import sys
import threading
import time

import pytest
from click.testing import CliRunner

from app.cli import check_settings as check_settings_program
from app.cli.commands import check_settings
from app.config import check_process
from app.factory import create_app
from tests.overlays import environment, overlay
from tests.support.server import ROOT, eventually
from tests.support.settings import KEYS, model, provider

__all__ = ["environment", "overlay"]  # fixtures


@pytest.fixture
def check(overlay, monkeypatch):
    """Return the mistakes in a settings file of this text."""
    monkeypatch.chdir(ROOT)

    def mistakes(text, **options):
        overlay.path.write_text(text)
        return check_process.mistakes(**options)

    return mistakes


def test_good_settings_have_no_mistakes(check):
    assert check("") == []


def test_every_mistake_of_the_schema_is_a_line(check):
    found = check('CACHE = {"ttl": 0}\nLIMITS = {"input": 1}\n')
    assert [line.partition(":")[0] for line in found] == ["CACHE['ttl']", "LIMITS['input']"]


def test_error_in_building_the_app_is_a_mistake(check):
    (line,) = check(
        'MODELS = {"m": {"tokenizer": "no_such_encoding",'
        ' "deployments": [{"provider": "local", "model": "l2_supercat"}]}}'
    )
    assert line.startswith("MODELS['m']['tokenizer']: cannot load 'no_such_encoding'")


def test_an_error_of_a_library_while_building_is_one_line(overlay, monkeypatch):
    def fail(**_):
        raise RuntimeError("of a\nlibrary")

    overlay("")
    monkeypatch.setattr("app.cli.check_settings.create_app", fail)
    assert check_settings_program.build() == [
        "the app cannot be built with these settings: RuntimeError: of a library"
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("raise SystemExit", "line 1: the file ends the process"),
        ("import sys\nsys.exit(0)", "line 2: the file ends the process (SystemExit: 0)"),
        ("import os\nos._exit(0)", "ended early (exit status 0)"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "ended early (signal 9)"),
        ("raise KeyboardInterrupt", "ended early"),
    ],
)
def test_settings_that_end_the_check_are_a_mistake(check, text, complaint):
    (line,) = check(text)
    assert complaint in line


def test_check_over_its_time_is_killed_with_its_children(check, tmp_path):
    pid = tmp_path / "pid"
    began = time.monotonic()
    (line,) = check(
        "import subprocess, time\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        f"open({str(pid)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(60)\n",
        limit_s=2,
    )
    assert line == "the check of the settings took more than 2 s and was stopped"
    assert time.monotonic() - began < 20
    eventually(lambda: not is_running(int(pid.read_text())))


def is_running(pid):
    """Return whether a process runs, and is not a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_child_of_the_check_does_not_delay_it(check):
    began = time.monotonic()
    assert check("import subprocess\nsubprocess.Popen(['sleep', '60'])\n") == []
    assert time.monotonic() - began < 30


def test_input_and_output_of_settings_are_ignored(check):
    assert check("print('[]')\n") == []
    (line,) = check("input()\n")
    assert "EOFError" in line


def test_check_that_cannot_run_is_a_mistake(check, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    (line,) = check("")
    assert line.startswith("the settings cannot be checked: ")


def test_the_check_needs_no_disk(check, monkeypatch):
    def none(**_):
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr("tempfile.TemporaryFile", none)
    assert check("") == []


def test_app_that_is_not_started_has_no_threads(tmp_path):
    before = set(threading.enumerate())
    create_app(
        {
            "PROVIDERS": {"p": provider("http://127.0.0.1:9")},
            "MODELS": {"m": model("p")},
            "KEYS": {"tests": KEYS["tests"]},
            "USAGE": {"url": f"sqlite:///{tmp_path}/usage.db", "keys": True},
            "OIDC": {"issuer": "i", "audience": "a", "jwks_url": "http://127.0.0.1:9/jwks"},
            "CACHE": {"url": "redis://127.0.0.1:9"},
            "LIMITS": {"url": "redis://127.0.0.1:9"},
        },
        start=False,
    )
    assert set(threading.enumerate()) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["CACHE", "LIMITS"])
def test_an_option_that_redis_py_does_not_know_is_a_mistake(check, name):
    (line,) = check(f'{name} = {{"url": "redis://127.0.0.1:9/0?tls=true"}}\n')
    assert line == f"{name}['url']: redis-py knows no option 'tls'"


def test_command_check_settings_builds_the_app(overlay, monkeypatch):
    monkeypatch.chdir(ROOT)
    overlay.path.write_text(
        'MODELS = {"m": {"tokenizer": "no_such_encoding",'
        ' "deployments": [{"provider": "local", "model": "l2_supercat"}]}}'
    )
    result = CliRunner().invoke(check_settings)
    assert result.exit_code == 1
    assert result.stderr.startswith("MODELS['m']['tokenizer']: cannot load")


LIGHT = "import sys, app.config.check_process; print(*sys.modules)"


def test_check_imports_no_network_library_into_gunicorns_master():
    out = subprocess.check_output([sys.executable, "-c", LIGHT], cwd=ROOT, text=True)
    assert not {"ssl", "flask", "requests", "urllib3", "redis", "sqlalchemy"} & set(out.split())
