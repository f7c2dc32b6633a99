"""Builds the image without a container engine: runs the steps of a Dockerfile in a directory tree.

RUN uses a container of `tests.deploy.sandbox`; COPY, ENV and the others are done here. There are
two differences to `docker build`: the base image is the host's programs, and pip installs packages
of `tests.deploy.wheels`.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.deploy import wheels
from tests.deploy.dockerfile import Stage, assignments, context_files, parse, substitute, words
from tests.deploy.sandbox import PYTHON, Container, Network, Tree
from tests.support.server import ROOT

DOCKERFILE = ROOT / "deploy" / "container" / "Dockerfile"
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels", "PIP_ROOT_USER_ACTION": "ignore"}
PATH = "/base-bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Image:
    """A built image: the tree, and how it is started."""

    tree: Tree
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    directory: str = "/"
    user: int = 0
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def container(
        self,
        network: Network,
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        **options: object,
    ) -> Container:
        """Return a container of this image; options are those of `Container`."""
        return Container(
            self.tree,
            command or self.command,
            network,
            {**self.environment, **(environment or {})},
            directory=self.directory,
            **{"user": self.user, **options},  # type: ignore[arg-type]
        )


def build(directory: Path, dockerfile: Path = DOCKERFILE) -> Image:
    """Run all stages; return the image of the last."""
    packages = directory / "wheels"
    packages.mkdir()
    wheels.make(packages)
    ignore = dockerfile.with_name("Dockerfile.dockerignore").read_text()
    context = strict_copy(directory / "context", ignore)
    named: dict[str, Image] = {}
    network = Network()
    image = None
    try:
        for number, stage in enumerate(parse(dockerfile.read_text())):
            tree = python_base(directory / f"stage{number}" / "root")
            image = named[stage.name] = Image(tree)
            _Builder(image, named, network, packages, context, ignore).build(stage)
    finally:
        network.close()
    assert image is not None
    return image


def strict_copy(target: Path, ignore: str) -> Path:
    """Copy the context with modes of umask 077: only the owner can read its files."""
    patterns = [line.removeprefix("!") for line in ignore.splitlines() if line.startswith("!")]
    for file in [file for name in patterns for file in context_files(ROOT, name, ignore)]:
        path = target / file
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, path)
        path.chmod(0o600)
    return target


def python_base(root: Path) -> Tree:
    """A tree that stands for python:3.11-slim: `python`, and a `pip` that can be uninstalled."""
    tree = Tree.of_base(root)
    (root / "base-bin/python").symlink_to(PYTHON / "bin" / f"python3.{sys.version_info.minor}")
    pip = root / "base-bin/pip"
    pip.write_text("#!/bin/sh\nexit 0\n")
    pip.chmod(0o755)
    return tree


@dataclass
class _Builder:
    image: Image
    named: dict[str, Image]
    network: Network
    packages: Path
    context: Path
    ignore: str
    arguments: dict[str, str] = field(default_factory=dict)

    def build(self, stage: Stage) -> None:
        for kind, text in stage.steps:
            {
                "RUN": self._run,
                "COPY": self._copy,
                "ARG": lambda t: self.arguments.update([t.split("=", 1)]),
                "ENV": self._env,
                "WORKDIR": self._workdir,
                "USER": self._user,
                "CMD": lambda t: self.image.command.extend(json.loads(t)),
                "HEALTHCHECK": lambda t: self.image.health.extend(words(t)),
                "EXPOSE": lambda _: None,
                "STOPSIGNAL": self._stopsignal,
            }[kind](text)

    def _run(self, text: str) -> None:
        container = Container(
            self.image.tree,
            ["sh", "-c", text],
            self.network,
            {**self.image.environment, **self.arguments, **OFFLINE},
            directory=self.image.directory,
            read_only=False,
            mounts=[(self.packages, "/wheels", False)],
            tmpfs=[("/tmp", "1777")],
        )
        done = container.run(timeout=200)
        assert done.returncode == 0, f"RUN {text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"

    def _copy(self, text: str) -> None:
        *sources, target = text.split()
        if sources[0].startswith("--from="):
            other = self.named[sources.pop(0).removeprefix("--from=")]
            (source,) = sources
            at = other.tree.root / source.lstrip("/")
            shutil.copytree(at, self._inside(target), symlinks=True, dirs_exist_ok=True)
            return
        mode = None
        if sources[0].startswith("--chmod="):
            mode = int(sources.pop(0).removeprefix("--chmod="), 8)
        for name in sources:
            for file in context_files(self.context, name, self.ignore):
                # The content of a directory is copied into the target; so is a file if the target
                # is a directory.
                below = file.relative_to(name) if (self.context / name).is_dir() else file.name
                path = self._inside(target) / below
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.context / file, path)
                if mode is not None:
                    path.chmod(mode)

    def _inside(self, path: str) -> Path:
        whole = Path(self.image.directory, path)
        return self.image.tree.root / str(whole).lstrip("/")

    def _env(self, text: str) -> None:
        self.image.environment |= assignments(substitute(text, self.image.environment))

    def _workdir(self, text: str) -> None:
        self.image.directory = str(Path(self.image.directory, text))
        self._inside(".").mkdir(parents=True, exist_ok=True)

    def _user(self, text: str) -> None:
        self.image.user = int(text.split(":")[0])

    def _stopsignal(self, text: str) -> None:
        assert text == "SIGTERM"
