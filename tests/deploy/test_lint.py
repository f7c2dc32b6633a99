"""What SECURITY.md says of `make lint`: bandit's rules are on for the code that is deployed."""

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
def test_what_bandit_looks_for_is_found(place: str):
    found = ruff("--stdin-filename", place, "-", text=UNSAFE)
    assert {"S301", "S324", "S602"} <= set(re.findall(r" (S\d+) ", found))


def test_of_these_rules_only_the_one_that_is_named_is_ignored():
    """S311, with its reason; more would need another sentence in SECURITY.md."""
    ignored = re.search(r"^ignore = \[(.*?)^\]", (ROOT / "ruff.toml").read_text(), re.M | re.S)[1]
    assert re.findall(r'"(S\d*)"', ignored) == ["S311"]


def ruff(*arguments: str, text: str) -> str:
    """The findings of `ruff check`, one a line."""
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise"]
    done = subprocess.run(
        [*command, *arguments], input=text, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    return done.stdout
