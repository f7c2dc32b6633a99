"""The image, built by the steps of its Dockerfile, starts read-only as uid 10001."""

import http.client
import json
import re
import subprocess
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import closing
from pathlib import Path

import pytest

from tests.deploy import sandbox, wheels
from tests.deploy.image import Image
from tests.deploy.sandbox import Network
from tests.support.server import ROOT, eventually

WHY_NOT = sandbox.reason_not() or wheels.reason_not()
pytestmark = [
    pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)),
    pytest.mark.timeout(400),  # the build installs 40 packages
]
KEY = "sk-image"
SERVED = {"ALPHANEURAL_API_KEY": KEY, "WEB_CONCURRENCY": "1"}
TMPFS = [("/tmp", "1777")]


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network()
    yield made
    made.close()


def ask(network: Network, method: str, path: str, body: object = None) -> tuple[int, bytes]:
    """Return status and body of an answer of the proxy in a network."""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    with network.inside(), closing(http.client.HTTPConnection("127.0.0.1", 8000, 20)) as client:
        try:
            client.request(method, path, body and json.dumps(body), headers)
            answer = client.getresponse()
            return answer.status, answer.read()
        except ConnectionError as error:
            return 0, str(error).encode()


def test_image_serves_read_only_and_is_healthy(image: Image, network: Network, tmp_path: Path):
    container = image.container(network, environment=SERVED, tmpfs=TMPFS)
    assert container.user == 10001
    with container.started(tmp_path / "log") as running:
        eventually(lambda: running.check() or ask(network, "GET", "/health/live")[0] == 200, 60)
        body = {"model": "wordllama", "input": ["a", "b"]}
        status, answer = ask(network, "POST", "/v1/embeddings", body)
        assert (status, len(json.loads(answer)["data"])) == (200, 2)
        for path in ("/docs", "/openapi.json", "/metrics"):
            assert ask(network, "GET", path)[0] == 200, path
        health = image.container(network, image.health, tmpfs=TMPFS).run()
        assert health.returncode == 0, health.stderr
        assert running.stop() == 0, running.log.read_text()
    health = image.container(network, image.health, tmpfs=TMPFS).run()
    assert health.returncode != 0


def test_image_runs_under_a_uid_without_name(image: Image, network: Network):
    """Some platforms give each project a uid."""
    done = flask(image, network, "check-settings", user=1234567)
    assert done.returncode == 0, done.stderr


def test_image_has_every_command_for_operators(image: Image, network: Network):
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    lines = parser["options.entry_points"]["flask.commands"].strip().splitlines()
    commands = {line.split("=")[0].strip() for line in lines}
    shown = flask(image, network, "--help")
    assert commands <= set(re.findall(r"^  ([a-z][\w-]*)", shown.stdout, re.M)), shown
    for command in commands:
        done = flask(image, network, command, "--help")
        assert done.returncode == 0, done.stderr


def test_commands_of_ledger_and_keys_work(image: Image, network: Network, tmp_path: Path):
    """They use the image's directory for state, which only its user can enter."""
    state = image.tree.root / "var/lib/proxy"
    found = state.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (10001, 10001, 0o700)
    settings = tmp_path / "settings.py"
    settings.write_text('USAGE = {"url": "sqlite:////var/lib/proxy/usage.db", "keys": True}\n')
    settings.chmod(0o444)
    mounts = [(state, "/var/lib/proxy", True), (settings, "/etc/settings.py", False)]

    def run(*words: str) -> str:
        where = {"PROXY_SETTINGS": "/etc/settings.py", **SERVED}
        done = flask(image, network, *words, environment=where, mounts=mounts)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("check-settings")
    run("usage", "migrate")
    run("key", "new", "team")
    assert "team" in run("key", "list")
    run("usage", "report")
    assert (state / "usage.db").stat().st_uid == 10001


def test_image_has_the_whole_package_and_no_build_tools(image: Image):
    root = image.tree.root
    (installed,) = (root / "opt/venv/lib").glob("python*/site-packages")
    tracked = subprocess.run(
        ["git", "ls-files", "app"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    for name in tracked.stdout.splitlines():
        if (ROOT / name).exists():
            assert (installed / name).is_file(), name
    names = {path.name.split("-")[0].lower() for path in installed.iterdir()}
    assert not names & {"pip", "setuptools", "wheel"}
    assert not (root / "build").exists()


def test_image_cannot_write_its_own_code(image: Image):
    for place in ("opt/venv", "srv"):
        for path in (image.tree.root / place).rglob("*"):
            if not path.is_symlink():
                assert (path.stat().st_uid, path.stat().st_mode & 0o022) == (0, 0), path


def flask(image: Image, network: Network, *words: str, **options) -> subprocess.CompletedProcess:
    """Run a command for operators in a container of its own."""
    options.setdefault("environment", SERVED)
    command = ["flask", "--app", "wsgi", *words]
    return image.container(network, command, tmpfs=TMPFS, **options).run()
