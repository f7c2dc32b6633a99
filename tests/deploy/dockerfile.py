"""Parser of a Dockerfile and its .dockerignore for `tests.deploy.image`."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass
class Stage:
    """One FROM and what follows. ``steps`` are (instruction, text) in order."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def last(self, instruction: str) -> str:
        """Return the text of the last step of an instruction."""
        return [text for kind, text in self.steps if kind == instruction][-1]


def parse(text: str) -> list[Stage]:
    """Return the stages in order. An ARG before the first FROM can be used in any FROM."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    stages: list[Stage] = []
    defaults: dict[str, str] = {}
    for line in filter(None, map(str.strip, joined.splitlines())):
        kind, _, rest = line.partition(" ")
        if kind == "FROM":
            base, *named = substitute(rest, defaults).split()
            stages.append(Stage(base, named[1] if named else ""))
        elif stages:
            stages[-1].steps.append((kind, rest.strip()))
        else:
            defaults |= dict([rest.split("=", 1)])
    return stages


def substitute(text: str, values: dict[str, str]) -> str:
    """Replace ``$NAME`` and ``${NAME}``; like docker, a name without value by an empty text."""
    return VARIABLE.sub(lambda match: values.get(match[1] or match[2], ""), text)


def assignments(text: str) -> dict[str, str]:
    """Return names and values of an ENV."""
    return dict(word.split("=", 1) for word in shlex.split(text))


def words(text: str) -> list[str]:
    """Return the words of a CMD in JSON form."""
    return [str(word) for word in json.loads(text[text.index("[") :])]


def in_context(path: str, ignore: str) -> bool:
    """Return whether the context has a path: the last matching pattern of .dockerignore decides."""
    tried = [PurePosixPath(path), *PurePosixPath(path).parents]
    found = True
    for line in ignore.splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        if any(_matches(one, pattern) for one in tried):
            found = line.startswith("!")
    return found


def _matches(path: PurePosixPath, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch.fnmatch(path.name, pattern.removeprefix("**/"))
    same_depth = len(path.parts) == len(PurePosixPath(pattern).parts)
    return same_depth and fnmatch.fnmatch(str(path), pattern)


def context_files(root: Path, name: str, ignore: str) -> list[Path]:
    """Return the files that COPY takes for a name, relative to the context."""
    start = root / name
    found = [start] if start.is_file() else sorted(p for p in start.rglob("*") if p.is_file())
    relative = [path.relative_to(root) for path in found]
    return [path for path in relative if in_context(str(path), ignore)]
