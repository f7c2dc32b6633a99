"""The wheel, installed in a fresh virtual environment, serves outside a checkout.

``WHEEL`` names the wheel to try (`make release` does); without it one is built here.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import venv
from pathlib import Path

import pytest

import app
from tests.deploy import wheels
from tests.support.server import ROOT, eventually, free_port

KEY = "sk-of-a-release"

pytestmark = pytest.mark.skipif(wheels.reason_not() is not None, reason=str(wheels.reason_not()))


class Installed:
    """A virtual environment with the wheel, an empty home directory and a working directory."""

    def __init__(self, directory: Path) -> None:
        self.elsewhere, home = directory / "elsewhere", directory / "home"
        self.elsewhere.mkdir()
        home.mkdir()
        packages = directory / "packages"
        packages.mkdir()
        wheels.make(packages, ["local"])
        venv.create(directory / "venv")
        self.bin = directory / "venv" / "bin"
        self.environment = {
            "HOME": str(home),
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(packages),
            "PIP_CONFIG_FILE": os.devnull,
            "ALPHANEURAL_API_KEY": KEY,
        }
        # pip installs into it from outside, and leaves the bytecode to those who import.
        pip = [sys.executable, "-m", "pip", "--python", str(self.bin / "python")]
        self._succeed([*pip, "install", "--quiet", "--no-compile", f"{wheel(directory)}[local]"])

    def run(self, *words: str) -> str:
        """Run a program of the environment; return its output. It must succeed."""
        return self._succeed([str(self.bin / words[0]), *words[1:]])

    def _succeed(self, command: list[str]) -> str:
        done = subprocess.run(
            command, cwd=self.elsewhere, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def wheel(directory: Path) -> Path:
    """The wheel to try, built from a copy of the source files unless ``WHEEL`` names one."""
    if given := os.environ.get("WHEEL"):
        return Path(given).resolve()
    source, built = directory / "source", directory / "built"
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if name.startswith("tests/") or not (ROOT / name).is_file():
            continue
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(built), str(source)], check=True)
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel, installed once for the tests of this file."""
    return Installed(tmp_path_factory.mktemp("release"))


@pytest.mark.timeout(600)
def test_the_wheel_serves_an_embedding_outside_the_checkout(installed: Installed):
    port = free_port()
    output = installed.elsewhere.parent / "output"
    command = [installed.bin / "embeddings-proxy", "serve", "-b", f"127.0.0.1:{port}", "-w", "1"]
    with output.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=installed.elsewhere, env=installed.environment, stdout=file, stderr=file
        )
    try:
        found = eventually(lambda: embedding(port, process), 60, "an embedding is served")
        assert len(found["data"][0]["embedding"]) == 256
        assert_pages(f"http://127.0.0.1:{port}")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, output.read_text()
    finally:
        process.kill()
        process.wait()


def assert_pages(url: str) -> None:
    """Check that the wheel has the templates and the files of the console, and of /docs."""
    page = text(f"{url}/console/login")
    names = re.findall(r'(?:src|href)="\.\./(console/static/[^"]+)"', page)
    assert len(names) == 4
    folder = names[0].rpartition("/")[0]
    for name in (*names, f"{folder}/vendor/uPlot.iife.min.js", "docs", "docs/start.js"):
        assert text(f"{url}/{name}")


def text(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


def embedding(port: int, process: "subprocess.Popen[bytes]") -> dict | None:
    """Return the answer to one input, or None while the port is closed."""
    assert process.poll() is None, "the server ended"
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/embeddings",
        json.dumps({"model": "wordllama", "input": "a text"}).encode(),
        {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionError):
            return None
        raise


@pytest.mark.timeout(600)
def test_the_operator_commands_work_outside_the_checkout(installed: Installed):
    assert "settings are good" in installed.run("embeddings-proxy", "check-settings")
    assert "sha256" in installed.run("embeddings-proxy", "new-key", "search")
    assert app.__version__ in installed.run("embeddings-proxy", "--version")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("words", "setting"),
    [
        ("usage report", "USAGE"),
        ("usage migrate", "USAGE"),
        ("cache stats", "CACHE"),
        ("audit", "USAGE"),
        ("key list", "USAGE"),
    ],
)
def test_a_command_without_its_package_names_the_setting(
    installed: Installed, words: str, setting: str
):
    command = [str(installed.bin / "embeddings-proxy"), *words.split()]
    done = subprocess.run(
        command, cwd=installed.elsewhere, env=installed.environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith(setting), done.stderr
