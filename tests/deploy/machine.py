"""systemd as the first process of a container, to run the units of deploy/systemd as they are.

It has a network, mounts, processes and a cgroup of its own, and only units of this project. So
systemd itself sets up a unit's user, directories and sandbox.
"""

from __future__ import annotations

import functools
import json
import os
import pty
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.sandbox import Network, Tree

SYSTEMD = Path("/lib/systemd/systemd")
#: Units that could change the host.
DROPPED = "-sys_time,-sys_module,-sys_rawio,-sys_boot,-syslog,-net_admin"
#: Empty targets that every unit depends on.
TARGETS = ("sysinit", "basic", "sockets", "network-online", "shutdown", "multi-user")
#: systemd-run uses the system bus.
BUS = {
    "dbus.socket": "[Socket]\nListenStream=/run/dbus/system_bus_socket\n",
    "dbus.service": "[Service]\nExecStart=dbus-daemon --system --address=systemd: --nofork\n",
}
BUS_USER = "messagebus:x:100:100::/nonexistent:/usr/sbin/nologin\n"


@functools.cache
def reason_not() -> str | None:
    """Return why systemd cannot run here, or None if it can."""
    needed = ("systemctl", "systemd-run", "dbus-daemon", "nsenter", "unshare")
    if not SYSTEMD.exists() or not all(map(shutil.which, needed)):
        return "no systemd here, or no dbus-daemon, or no util-linux"
    try:
        _cgroup("probe").rmdir()
    except OSError as error:
        return f"no cgroup can be made here: {error}"
    return None


def _cgroup(name: str) -> Path:
    """Create a cgroup below that of this process, in the unified hierarchy."""
    for place in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")):
        if (place / "cgroup.procs").exists():
            lines = Path("/proc/self/cgroup").read_text().splitlines()
            (own,) = (line.removeprefix("0::") for line in lines if line.startswith("0::"))
            made = place / own.lstrip("/") / f"embeddings-tests-{os.getpid()}-{name}"
            made.mkdir()
            return made
    raise OSError("there is no unified hierarchy")


@dataclass
class Machine:
    """A tree to boot. ``mounts``: (source, target), read-only; ``units``: texts by file name."""

    tree: Tree
    network: Network
    mounts: list[tuple[Path, str]]
    units: Mapping[str, str]

    @contextmanager
    def booted(self) -> Iterator[Booted]:
        """Run the machine until the block ends. It starts default.target, one of ``units``."""
        directory = self.tree.root.parent
        self._write_units()
        group, groups = _cgroup("machine"), directory / "cgroup"
        groups.mkdir(exist_ok=True)
        controller, console = pty.openpty()
        reading, writing = os.pipe()
        script = (
            f"echo $$ > {group}/cgroup.procs && exec unshare --cgroup --mount sh -c "
            f'\'mount -t cgroup2 none {groups} && exec "$@"\' - "$@"'
        )
        boot = self._bwrap(groups, os.ttyname(console), writing)
        command = ["sh", "-c", script, "-", *boot]
        log = directory / "console.log"
        with self.network.inside(), log.open("wb") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=[writing]
            )
        os.close(writing)
        threading.Thread(target=_copy, args=(controller, log), daemon=True).start()
        with os.fdopen(reading) as info:
            text = info.read()
        try:
            assert text, log.read_text()
            yield Booted(json.loads(text)["child-pid"], log)
        finally:
            with suppress(ProcessLookupError, ValueError):  # it did not start
                os.kill(json.loads(text)["child-pid"], signal.SIGKILL)  # and all its processes
            process.wait(60)
            os.close(console)  # not earlier: a console that no process has open cannot be read
            _remove(group)

    def _write_units(self) -> None:
        for name in TARGETS:
            text = f"[Unit]\nDescription={name}\nDefaultDependencies=no\n"
            self._write(f"{name}.target", text)
        for name, text in {**BUS, **self.units}.items():
            self._write(name, text)
        with (self.tree.root / "etc/passwd").open("a") as users:
            users.write(BUS_USER)

    def _write(self, name: str, text: str) -> None:
        path = self.tree.root / "units" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def _bwrap(self, groups: Path, console: str, info_fd: int) -> list[str]:
        for place in ("sys", "root", "home", "boot", "var/tmp"):
            self.tree.mountpoint(place)
        line = ["bwrap", "--as-pid-1", "--die-with-parent", "--info-fd", str(info_fd)]
        line += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--cap-add", "ALL"]
        line += [
            "--clearenv",
            "--setenv",
            "container",
            "bwrap",
            "--setenv",
            "PATH",
            "/usr/sbin:/usr/bin",
        ]
        line += ["--setenv", "SYSTEMD_UNIT_PATH", "/units"]
        line += ["--bind", str(self.tree.root), "/", *self.tree.base()]
        for source, target in self.mounts:
            self.tree.mountpoint(target)
            line += ["--ro-bind", str(source), target]
        line += [
            "--proc",
            "/proc",
            "--ro-bind",
            "/proc/sys",
            "/proc/sys",
            "--ro-bind",
            "/sys",
            "/sys",
        ]
        line += ["--bind", str(groups), "/sys/fs/cgroup", "--dev", "/dev"]
        line += ["--dev-bind", console, "/dev/console", "--tmpfs", "/run", "--tmpfs", "/tmp"]
        # As nspawn does: mounts that systemd makes for a unit must be visible to it.
        line += ["sh", "-c", 'mount --make-rshared / && exec "$@"', "-"]
        line += ["setpriv", f"--bounding-set={DROPPED}", str(SYSTEMD), "--system"]
        return [*line, "--log-target=console", "--show-status=no"]


@dataclass
class Booted:
    """A running machine. ``first`` is the host's pid of systemd."""

    first: int
    log: Path

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root."""
        spaces = [
            "nsenter",
            f"--target={self.first}",
            "-m",
            "-p",
            "-n",
            "-i",
            "-u",
            "-C",
            "-r",
            "-w",
        ]
        done = subprocess.run(
            [*spaces, "--", *command],
            env={"PATH": "/usr/sbin:/usr/bin"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr + self.log.read_text()
        return done


def _copy(controller: int, log: Path) -> None:
    """Copy the output of systemd's console to a file."""
    with log.open("ab", buffering=0) as file, suppress(OSError):  # EIO: the console is closed
        while data := os.read(controller, 65536):
            file.write(data.replace(b"\r", b""))
    os.close(controller)


def _remove(group: Path) -> None:
    """Remove the empty cgroup and those that systemd made in it."""
    for path in sorted(group.rglob("*"), key=lambda p: len(p.parts), reverse=True):
        if path.is_dir():
            path.rmdir()
    group.rmdir()
