"""Pods of deploy/kubernetes as containers of `tests.deploy.sandbox`, in one network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.image import PATH, Image
from tests.deploy.sandbox import Container, Network, Tree
from tests.support.server import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"


def load(name: str) -> list[dict[str, Any]]:
    """Return the objects in a file of the base."""
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


KUSTOMIZATION = load("kustomization.yaml")[0]
(STATEFUL_SET,) = load("statefulset.yaml")
(JOB,) = load("migrate.yaml")


def config_maps() -> dict[str, dict[str, str]]:
    """Return what configMapGenerator makes: values by key, by name."""
    made: dict[str, dict[str, str]] = {}
    for entry in KUSTOMIZATION["configMapGenerator"]:
        values = made[entry["name"]] = {}
        for name in entry.get("files", []):
            values[name] = (FOLDER / name).read_text()
        for name in entry.get("envs", []):
            lines = (FOLDER / name).read_text().splitlines()
            values |= dict(line.split("=", 1) for line in lines if line and line[0] != "#")
    return made


@dataclass
class Pod:
    """One pod of a template, in a given network. ``claims`` are those of a StatefulSet."""

    spec: dict[str, Any]
    directory: Path
    network: Network
    image: Image
    secrets: Path  # one file for each key
    program: Callable[[Tree], Tree]  # adds the programs of other projects' images to a base image
    claims: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._volumes = {v["name"]: self._volume(v) for v in self.spec["volumes"]}
        for name in self.claims:
            self._volumes[name] = self._owned(name, 0o2775)
        self._other = self.program(Tree.of_base(self.directory / "other" / "root"))

    def container(self, name: str) -> Container:
        """Return the container of this name."""
        (spec,) = (c for c in self.spec["containers"] if c["name"] == name)
        ours = spec["image"] == "embeddings-proxy"
        context = self.spec["securityContext"]
        environment = dict(self.image.environment) if ours else {"PATH": PATH}
        for source in spec.get("envFrom", []):
            environment |= config_maps()[source["configMapRef"]["name"]]
        mounts = [
            (self._volumes[m["name"]], m["mountPath"], not m.get("readOnly"))
            for m in spec["volumeMounts"]
        ]
        return Container(
            self.image.tree if ours else self._other,
            spec.get("command") or self.image.command,
            self.network,
            environment,
            user=context["runAsUser"],
            groups=[context["runAsGroup"], context["fsGroup"]],
            directory=self.image.directory if ours else "/",
            read_only=spec["securityContext"]["readOnlyRootFilesystem"],
            mounts=mounts,
        )

    def _volume(self, volume: dict[str, Any]) -> Path:
        if "configMap" in volume:
            path = self._directory(volume["name"])
            for name, text in config_maps()[volume["configMap"]["name"]].items():
                (path / name).write_text(text)
                (path / name).chmod(0o644)
            return path
        if "secret" in volume:  # owner root, group fsGroup
            path = self._directory(volume["name"])
            for source in self.secrets.iterdir():
                target = shutil.copyfile(source, path / source.name)
                os.chown(target, 0, self.spec["securityContext"]["fsGroup"])
                target.chmod(volume["secret"]["defaultMode"])
            return path
        assert "emptyDir" in volume
        return self._owned(volume["name"], 0o2777)

    def _owned(self, name: str, mode: int) -> Path:
        """Make a writable volume; the kubelet sets its group to fsGroup."""
        path = self._directory(name)
        os.chown(path, 0, self.spec["securityContext"]["fsGroup"])
        path.chmod(mode)
        return path

    def _directory(self, name: str) -> Path:
        path = self.directory / "volumes" / name
        path.mkdir(parents=True)
        path.chmod(0o755)
        return path
