"""Builds wheels from installed packages, so that `pip install` works without a network."""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Collection
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from tests.support.server import ROOT

NOT_IN_IMAGES = ("test", "bench")  # extras of setup.cfg
NOT_COPIED = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}


def make(directory: Path, extras: Collection[str] | None = None) -> None:
    """Write wheels of all requirements of our extras that are installed here.

    ``extras`` are some of them; the default is all except those for development.
    """
    for distribution in needed(extras):
        pack(distribution, directory)


def needed(extras: Collection[str] | None = None) -> list[metadata.Distribution]:
    """Return installed distributions that these extras need."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [Requirement("setuptools"), *ours(extras)]
    seen: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        try:
            distribution = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            continue
        found[normal(requirement.name)] = distribution
        for text in distribution.requires or []:
            child = Requirement(text)
            extras = requirement.extras or {""}
            if not child.marker or any(child.marker.evaluate({"extra": e}) for e in extras):
                waiting.append(child)
    return list(found.values())


def ours(chosen: Collection[str] | None = None) -> list[Requirement]:
    """Return the requirements in setup.cfg: ours, and those of these extras."""
    from configparser import ConfigParser

    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    groups = [parser["options"]["install_requires"]]
    extras = parser["options.extras_require"]
    names = set(extras) - set(NOT_IN_IMAGES) if chosen is None else chosen
    groups += [extras[name] for name in names]
    return [Requirement(line) for text in groups for line in text.splitlines() if line.strip()]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def pack(distribution: metadata.Distribution, directory: Path) -> Path:
    """Write a wheel of an installed distribution, without its scripts: pip generates them.

    The tag in the file's name lets pip install the wheel on this machine.
    """
    name = f"{normal(distribution.metadata['Name'])}-{distribution.version}"
    path = directory / f"{name}-py3-none-any.whl"
    record: list[str] = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as wheel:
        for file in distribution.files or []:
            source = Path(str(distribution.locate_file(file)))
            inside = not file.is_absolute() and file.parts[0] != ".."
            if not inside or "__pycache__" in file.parts or not source.is_file():
                continue
            target = str(file)
            if file.parts[0].endswith(".dist-info"):
                if file.name in NOT_COPIED:
                    continue
                target = "/".join([f"{name}.dist-info", *file.parts[1:]])
            wheel.write(source, target)
            record.append(f"{target},,")
        listing = f"{name}.dist-info/RECORD"
        wheel.writestr(listing, "\n".join([*record, f"{listing},,", ""]))
    return path


def reason_not() -> str | None:
    """Return why no wheels can be made here, or None if they can."""
    wanted = next(r for r in build_requires() if r.name == "setuptools")
    try:
        version = metadata.version("setuptools")
    except metadata.PackageNotFoundError:
        version = "0"
    if version not in wanted.specifier:
        return f"builds without a network need {wanted} in {sys.prefix}"
    return None


def build_requires() -> list[Requirement]:
    """Return the build requirements of pyproject.toml."""
    import tomllib

    table = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [Requirement(text) for text in table["build-system"]["requires"]]
