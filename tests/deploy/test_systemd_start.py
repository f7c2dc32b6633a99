"""Units of deploy/systemd under systemd as the first process of a container."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import machine, sandbox, wheels
from tests.deploy.image import Image, python_base
from tests.deploy.machine import Booted, Machine
from tests.deploy.sandbox import PYTHON, Network, Tree
from tests.deploy.servers import Within
from tests.support.server import ROOT, eventually

WHY_NOT = sandbox.reason_not() or wheels.reason_not() or machine.reason_not()
pytestmark = [
    pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)),
    pytest.mark.timeout(400),  # the image, whose environment is used, is built
]
KEY = "sk-systemd"
SERVICE = "embeddings-proxy.service"
SETTINGS = """\
import hashlib, os
from pathlib import Path
secret = Path(os.environ["CREDENTIALS_DIRECTORY"], "openai").read_text().strip()
KEYS = {"default": {"sha256": hashlib.sha256(secret.encode()).hexdigest(), "models": ["*"]}}
USAGE = {"url": "sqlite:////var/lib/proxy/usage.db", "keys": True}
"""


def tree(directory: Path) -> Tree:
    """A host with this repository in /opt/embeddings-proxy, settings, and a secret of root."""
    made = python_base(directory / "root")
    place = made.root / "opt/embeddings-proxy"
    for name in ("app", "deploy"):
        ignore = shutil.ignore_patterns("__pycache__", "secrets")
        shutil.copytree(ROOT / name, place / name, ignore=ignore)
    shutil.copy(ROOT / "wsgi.py", place)
    (place / ".venv").symlink_to("/opt/venv")
    etc = made.root / "etc/embeddings-proxy"
    etc.mkdir()
    (etc / "settings.py").write_text(SETTINGS)
    (etc / "environment").write_text("WEB_CONCURRENCY=1\n")
    (etc / "openai.key").write_text(KEY)
    (etc / "openai.key").chmod(0o600)
    return made


def units() -> dict[str, str]:
    """The units, with the line for secrets enabled, and a target that starts them."""
    found = {p.name: p.read_text() for p in (ROOT / "deploy/systemd").glob("embeddings-proxy.*")}
    assert "\n#LoadCredential=" in found[SERVICE]
    found[SERVICE] = found[SERVICE].replace("\n#LoadCredential=", "\nLoadCredential=")
    wanted = " ".join(["dbus.socket", *found])
    if PYTHON.is_relative_to("/root") or PYTHON.is_relative_to(
        "/home"
    ):  # not readable by others, except Python
        lines = f"[Service]\nProtectHome=tmpfs\nBindReadOnlyPaths={PYTHON}\n"
        found[f"{SERVICE}.d/python.conf"] = lines
    return found | {"default.target": f"[Unit]\nDescription=start\nWants={wanted}\n"}


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    made = Network()
    yield made
    made.close()


@pytest.fixture(scope="module")
def host(
    image: Image, network: Network, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Booted]:
    host = tree(tmp_path_factory.mktemp("systemd"))
    venv = image.tree.root / "opt/venv"
    with Machine(host, network, [(venv, "/opt/venv")], units()).booted() as booted:
        eventually(lambda: state(booted) in ("active", "failed"), 60, "the unit has started")
        assert state(booted) == "active", booted.log.read_text()
        yield booted


def state(host: Booted, name: str = "ActiveState") -> str:
    """Return a property of the service."""
    return host.run("systemctl", "show", "-P", name, SERVICE, check=False).stdout.strip()


def flask(host: Booted, *words: str) -> str:
    return host.run("sh", "/opt/embeddings-proxy/deploy/systemd/flask.sh", *words).stdout


def test_service_serves_in_its_sandbox(host: Booted, network: Network):
    client = Within(network, "127.0.0.1", 8000, KEY)
    assert client.embed("wordllama", ["a", "b"]).status == 200
    status = host.run("cat", f"/proc/{state(host, 'MainPID')}/status").stdout
    found = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(found["Uid"].split()[0]) > 60000  # a dynamic user
    assert int(found["CapBnd"], 16) == 0
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")


def test_commands_run_as_the_service(host: Booted, network: Network):
    """Their files belong to the service's user, and they have its secrets."""
    assert "empty" in flask(host, "usage", "migrate")
    shown = flask(host, "key", "new", "a team")
    owners = host.run("stat", "-c", "%u", "/var/lib/proxy/usage.db", "/var/lib/private/proxy")
    assert set(owners.stdout.split()) == {str(owner(host))}
    key = next(word for word in shown.split() if word.startswith("sk-"))
    client = Within(network, "127.0.0.1", 8000, key)
    eventually(lambda: client.embed("wordllama", "a").status == 200, 60, "the key is known")
    eventually(lambda: '"a team"' in flask(host, "usage", "report", "--json"), 60, "its row")
    assert "a team" not in host.log.read_text()  # keys are not in a log
    assert json.loads(flask(host, "usage", "report", "--json"))


def owner(host: Booted) -> int:
    status = host.run("stat", "-c", "%u", f"/proc/{state(host, 'MainPID')}").stdout
    return int(status)


def test_reload_and_stop_succeed(host: Booted, network: Network):
    before = state(host, "MainPID")
    host.run("systemctl", "reload", SERVICE)
    assert state(host, "MainPID") == before
    client = Within(network, "127.0.0.1", 8000, KEY)
    assert client.embed("wordllama", "a").status == 200
    host.run("systemctl", "stop", SERVICE)
    assert (state(host), state(host, "Result")) == ("inactive", "success")
    assert client.embed("wordllama", "a").status == 200  # the socket starts it again
