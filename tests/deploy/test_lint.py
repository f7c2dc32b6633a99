"""`make lint` applies bandit's rules to deployed code, as SECURITY.md says."""

import re
import subprocess
import sys

import pytest

from tests.support.server import ROOT

UNSAFE = """\
import hashlib
import pickle
import subprocess


def unsafe(data: bytes) -> object:
    hashlib.md5(data)
    subprocess.run(data, shell=True, check=False)
    return pickle.loads(data)
"""


@pytest.mark.parametrize(
    "place",
    ["app/new.py", "app/usage/new.py", "wsgi.py", "deploy/new.py", "deploy/container/new.py"],
)
def test_findings_of_bandit_are_found(place: str):
    found = ruff("--stdin-filename", place, "-", text=UNSAFE)
    assert {"S301", "S324", "S602"} <= set(re.findall(r" (S\d+) ", found))


def test_only_s311_is_ignored():
    """S311 has its reason in SECURITY.md; another ignored rule would need one there too."""
    ignored = re.search(r"^ignore = \[(.*?)^\]", (ROOT / "ruff.toml").read_text(), re.M | re.S)[1]
    assert re.findall(r'"(S\d*)"', ignored) == ["S311"]


def ruff(*arguments: str, text: str) -> str:
    """Return the findings of `ruff check`, one on each line."""
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise"]
    done = subprocess.run(
        [*command, *arguments], input=text, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    return done.stdout
