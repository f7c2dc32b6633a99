"""Containers by bubblewrap: a directory tree as root, mounts, a user, and a network of their own.

They have what a container engine gives a process in file system and user: the tree is read-only
where the service says so, there are no capabilities, and the network is loopback only. The base
image is the host's /usr, in place of Debian's, and the Python of the tests.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_SET_FLAGS, _SET_ADDRESS, _UP = 0x8914, 0x8916, 0x1  # SIOCSIFFLAGS, SIOCSIFADDR, IFF_UP

#: Users of Debian's images that could collide with ours.
PASSWD = "root:x:0:0:root:/root:/bin/sh\nproxy:x:13:13:proxy:/bin:/usr/sbin/nologin\n"
GROUP = "root:x:0:\nproxy:x:13:\n"


#: The Python of the tests' virtual environment. It keeps its path, because it may be linked with a
#: library beside it.
PYTHON = Path(sys.base_prefix)


@functools.cache
def reason_not() -> str | None:
    """Return why no container can be made here, or None if one can."""
    if os.getuid() != 0:
        return "containers need root here: their files have several owners"
    if not shutil.which("bwrap") or not shutil.which("setpriv"):
        return "containers need bubblewrap and setpriv (Debian: bubblewrap, util-linux)"
    probe = ["bwrap", "--ro-bind", "/", "/", "--unshare-pid", "--proc", "/proc", "true"]
    done = subprocess.run(probe, capture_output=True, text=True)
    if done.returncode:
        return f"bubblewrap cannot work here: {done.stderr.strip()[:100]}"
    try:
        Network().close()
    except OSError as error:
        return f"no network namespaces here: {error}"
    return None


class Network:
    """A network with loopback only, and names in its /etc/hosts. It must be closed."""

    def __init__(self, hosts: Mapping[str, str] | None = None) -> None:
        self.hosts = {"localhost": "127.0.0.1", **(hosts or {})}
        self._outer = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        _check(_LIBC.unshare(_NEW_NETWORK))
        try:
            self._inner = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            self._bring_up()
        finally:
            _check(_LIBC.setns(self._outer, _NEW_NETWORK))

    def _bring_up(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sh", b"lo", _UP))
            extra = sorted(set(self.hosts.values()) - {"127.0.0.1"})
            for number, address in enumerate(extra):
                request = struct.pack(
                    "16sHH4s8x", b"lo:%d" % number, socket.AF_INET, 0, socket.inet_aton(address)
                )
                fcntl.ioctl(control, _SET_ADDRESS, request)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Within the block, sockets and processes of this thread are created in the network."""
        _check(_LIBC.setns(self._inner, _NEW_NETWORK))
        try:
            yield
        finally:
            _check(_LIBC.setns(self._outer, _NEW_NETWORK))

    def close(self) -> None:
        os.close(self._inner)
        os.close(self._outer)


@dataclass
class Tree:
    """A root file system: a directory, under which the base image is mounted."""

    root: Path

    @classmethod
    def of_base(cls, root: Path) -> Tree:
        """Return a tree with only the base image."""
        for name in ("etc", "tmp", "run", "proc", "dev", "usr", "base-bin", "var/lib", "var/cache"):
            (root / name).mkdir(parents=True, exist_ok=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            if Path("/", name).is_symlink():
                (root / name).symlink_to(f"usr/{name}")
        (root / "tmp").chmod(0o1777)
        (root / "etc/passwd").write_text(PASSWD)
        (root / "etc/group").write_text(GROUP)
        (root / "etc/shadow").write_text("root:*:19000:0:99999:7:::\n")
        (root / "etc/hosts").touch()
        return cls(root)

    def base(self) -> list[str]:
        """Return options that mount the host's programs, read-only."""
        places = [p for p in (Path("/lib64"), Path("/lib"), Path("/bin")) if not p.is_symlink()]
        if not PYTHON.is_relative_to("/usr"):
            places.append(PYTHON)
        found = ["--ro-bind", "/usr", "/usr"]
        for place in filter(Path.exists, places):
            self.mountpoint(str(place))
            found += ["--ro-bind", str(place), str(place)]
        return found

    def mountpoint(self, target: str, source: Path | None = None) -> None:
        """Create a mount point as an engine does: a directory, or an empty file."""
        path = self.root / target.lstrip("/")
        if source is not None and not source.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        else:
            path.mkdir(parents=True, exist_ok=True)


@dataclass
class Container:
    """How a container starts. ``mounts``: (source, target, writable); ``tmpfs``: (target, mode)."""

    tree: Tree
    command: Sequence[str]
    network: Network
    environment: Mapping[str, str] = field(default_factory=dict)
    user: int = 0
    groups: Sequence[int] = ()  # the first is the primary one
    directory: str = "/"
    read_only: bool = True
    mounts: Sequence[tuple[Path, str, bool]] = ()
    tmpfs: Sequence[tuple[str, str]] = ()

    def bwrap(self, *first: str) -> list[str]:
        """Return the whole command line."""
        hosts = self.tree.root.parent / "hosts"
        hosts.write_text("".join(f"{a} {n}\n" for n, a in self.network.hosts.items()))
        bind = "--ro-bind" if self.read_only else "--bind"
        line = ["bwrap", *first, "--die-with-parent", "--unshare-pid", "--unshare-ipc"]
        line += ["--unshare-uts", "--clearenv", bind, str(self.tree.root), "/", *self.tree.base()]
        line += ["--proc", "/proc", "--dev", "/dev", "--ro-bind", str(hosts), "/etc/hosts"]
        for target, mode in self.tmpfs:
            self.tree.mountpoint(target)
            line += ["--perms", mode, "--tmpfs", target]
        for source, target, writable in self.mounts:
            self.tree.mountpoint(target, source)
            line += ["--bind" if writable else "--ro-bind", str(source), target]
        for name, value in self.environment.items():
            line += ["--setenv", name, value]
        return [*line, "--chdir", self.directory, *self._unprivileged(), *self.command]

    def _unprivileged(self) -> list[str]:
        if self.user == 0:
            return []
        main, *others = self.groups or [self.user]
        extra = f"--groups={','.join(map(str, others))}" if others else "--clear-groups"
        ids = [f"--reuid={self.user}", f"--regid={main}", extra]
        return ["setpriv", *ids, "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]

    def run(self, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run the container to its end."""
        with self.network.inside():
            return subprocess.run(
                self.bwrap(), capture_output=True, text=True, timeout=timeout, check=False
            )

    @contextmanager
    def started(self, log: Path) -> Iterator[Started]:
        """Run the container until the block ends; its output goes to ``log``."""
        reading, writing = os.pipe()
        # Not --as-pid-1: a process that changes its user gets no signal when its parent ends. So
        # the first process is bubblewrap's, and all others end with it.
        command = self.bwrap("--info-fd", str(writing))
        with self.network.inside(), log.open("ab") as output:
            os.fchown(
                output.fileno(), self.user, -1
            )  # as runc does, so that /dev/stderr can be opened
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, pass_fds=[writing]
            )
        os.close(writing)
        with os.fdopen(reading) as info:
            text = info.read()
        assert text, log.read_text()
        running = Started(process, json.loads(text)["child-pid"], log)
        try:
            yield running
        finally:
            running.kill()


@dataclass
class Started:
    """A running container. ``first`` is the host's pid of its first process."""

    process: subprocess.Popen[bytes]
    first: int
    log: Path

    def stop(self, seconds: float = 20) -> int:
        """Send SIGTERM to the command, as an engine does; return its exit status."""
        children = Path(f"/proc/{self.first}/task/{self.first}/children").read_text()
        os.kill(int(children.split()[0]), signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self) -> None:
        """Send SIGKILL to all processes."""
        self.process.kill()
        self.process.wait(60)

    def check(self) -> Any:
        """Fail with the output if the container has ended."""
        assert self.process.poll() is None, self.log.read_text()


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
