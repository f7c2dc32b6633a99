"""Units of deploy/systemd: settings, `systemd-analyze`, and the command of the service."""

import contextlib
import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import FOREIGN, ROOT, eventually, free_port

UNITS = ROOT / "deploy" / "systemd"
SERVICE = UNITS / "embeddings-proxy.service"
GRACEFUL = int(
    re.search(r"graceful_timeout = (\d+)", (ROOT / "app/server/configuration.py").read_text())[1]
)


def settings(path: Path) -> dict[str, list[str]]:
    """Return the values of each name in order: a name can occur more than once."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_a_stop_waits_for_requests():
    unit = settings(SERVICE)
    assert int(unit["TimeoutStopSec"][0]) > GRACEFUL
    assert unit["KillMode"] == ["mixed"]  # only the master gets the signal
    assert "-HUP" in unit["ExecReload"][0]


def test_service_and_socket_belong_together():
    unit, sock = settings(SERVICE), settings(UNITS / "embeddings-proxy.socket")
    assert unit["Requires"] == ["embeddings-proxy.socket"]
    assert sock["ListenStream"] == ["127.0.0.1:8000"]  # only nginx on this host
    assert "backlog = " + sock["Backlog"][0] in (ROOT / "app/server/configuration.py").read_text()


def test_a_failing_service_is_restarted_without_limit():
    assert settings(SERVICE)["Restart"] == ["always"]
    assert settings(SERVICE)["StartLimitIntervalSec"] == ["0"]


def test_documents_name_the_state_directory():
    """Documents name the directory that unit and image can write to, and no other."""
    (name,) = settings(SERVICE)["StateDirectory"]
    container = ROOT / "deploy" / "container"
    pages = [ROOT / "README.md", ROOT / "app" / "settings.py", *(ROOT / "docs").glob("*.md")]
    for path in [*pages, SERVICE, container / "settings.py", container / "Dockerfile"]:
        assert set(re.findall(r"/var/lib/([\w-]+)", path.read_text())) <= {name}, path


def test_units_have_no_secret():
    for path in UNITS.iterdir():
        assert not re.search(r"^(?!#).*(key|secret|password)\s*=", path.read_text(), re.I | re.M)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")
def test_exposure_is_that_of_the_comment():
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(SERVICE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    if not found:
        pytest.skip(f"this systemd-analyze judges no files: {done.stderr[:100]}")
    assert float(found[1]) <= 1.5
    assert re.search(r"systemd 252: ([\d.]+),", SERVICE.read_text())


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")
def test_systemd_accepts_every_line(tmp_path: Path):
    for path in UNITS.iterdir():
        text = path.read_text().replace("/opt/embeddings-proxy/.venv/bin/gunicorn", "/bin/true")
        (tmp_path / path.name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", *map(str, tmp_path.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "embeddings-proxy" in line]
    assert ours == []


# What a unit's process is given, made with what there is: the listener by systemd's own
# socket-activate, no capability and no way to any by setpriv, no memory that is both written and
# run by prctl(PR_SET_MDWE).
MDWE = (
    "import ctypes, os, sys; sys.stderr.flush(); "
    "ctypes.CDLL(None).prctl(65, 1, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


@pytest.mark.skipif(
    not (shutil.which("systemd-socket-activate") and shutil.which("setpriv")) or os.getuid() != 0,
    reason="needs systemd-socket-activate, setpriv and root",
)
def test_command_serves_on_a_socket_of_systemd_and_notifies(tmp_path: Path):
    port, gunicorn = free_port(), str(Path(sys.executable).with_name("gunicorn"))
    words = settings(SERVICE)["ExecStart"][0].split()[1:]
    kept = {n: v for n, v in os.environ.items() if not n.startswith(FOREIGN)}
    environment = kept | {"ALPHANEURAL_API_KEY": "sk-any", "WEB_CONCURRENCY": "1"}
    passed = [f"--setenv={name}" for name in environment]
    unprivileged = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    notify_socket = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(notify_socket))
        listener.settimeout(60)
        process = subprocess.Popen(
            ["systemd-socket-activate", "-l", f"127.0.0.1:{port}", *passed,
             f"--setenv=NOTIFY_SOCKET={notify_socket}", *unprivileged,
             sys.executable, "-c", MDWE, sys.executable, gunicorn, *words],
            cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            eventually(lambda: send_request(port), 60, "it answers")
            assert b"READY=1" in listener.recv(1000)
        finally:
            process.terminate()
            errors = process.communicate(timeout=60)[1]
    assert process.returncode == 0, errors


def send_request(port: int) -> bool:
    """Send a request; the first one starts the service."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.suppress(OSError), contextlib.closing(connection):
        connection.request("GET", "/health/live")
        return connection.getresponse().status == 200
    return False
