"""Tests of the helpers of this directory: containers end, Dockerfiles are parsed."""

import contextlib
import os
from pathlib import Path

import pytest

from tests.deploy import sandbox
from tests.deploy.dockerfile import in_context, parse, substitute
from tests.deploy.sandbox import Container, Network, Tree
from tests.support.server import eventually

WHY_NOT = sandbox.reason_not()


@pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
def test_a_killed_container_leaves_no_process(tmp_path: Path):
    network = Network()
    with contextlib.closing(network):
        tree = Tree.of_base(tmp_path / "root")
        path = {"PATH": "/usr/bin:/bin"}
        container = Container(tree, ["sleep", "1000"], network, path, user=10001)
        with container.started(tmp_path / "log") as running:
            children = Path(f"/proc/{running.first}/task/{running.first}/children")
            (command,) = eventually(lambda: children.read_text().split())
            eventually(lambda: owner(command) == 10001, what="it is another user's")
        eventually(lambda: owner(command) is None, what="it has ended")


def owner(pid: str) -> int | None:
    """Return the user of a process; None: it has ended, or is a zombie."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        return None if "\nState:\tZ" in status else os.stat(f"/proc/{pid}").st_uid
    except (FileNotFoundError, ProcessLookupError):
        return None


def test_dockerfile_is_parsed_into_steps():
    text = 'ARG V=1\nFROM a:${V} AS x\n# no\nRUN b \\\n    && c\nFROM d\nCMD ["e"]\n'
    first, second = parse(text)
    assert (first.base, first.name, first.steps) == ("a:1", "x", [("RUN", "b && c")])
    assert (second.base, second.name, second.steps) == ("d", "", [("CMD", '["e"]')])
    assert substitute("$A/${B}-$C", {"A": "1", "B": "2"}) == "1/2-"


IGNORE = "# all\n*\n!app\n!deploy/one.py\n**/__pycache__\n"


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("app/a.py", True),
        ("app/b/c.py", True),
        ("app/b/__pycache__/c.pyc", False),
        ("deploy/one.py", True),
        ("deploy/two.py", False),
        ("secrets/key", False),
    ],
)
def test_the_last_pattern_of_dockerignore_decides(path: str, there: bool):
    assert in_context(path, IGNORE) is there
