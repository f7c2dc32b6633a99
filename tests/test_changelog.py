"""CHANGELOG.md has the shape of Keep a Changelog: merged branches add no second heading."""

import re
from collections import Counter

import pytest

from tests.support.server import ROOT

SECTIONS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
TEXT = (ROOT / "CHANGELOG.md").read_text()
#: The names of versions and what is below each.
VERSIONS = re.findall(r"^## (.+)\n((?:(?!## ).*\n?)*)", TEXT, re.MULTILINE)


def test_every_version_is_there_once():
    names = [name for name, _ in VERSIONS]
    assert len(names) == len(re.findall(r"^## ", TEXT, re.MULTILINE)) > 1
    assert [name for name, count in Counter(names).items() if count > 1] == []


@pytest.mark.parametrize(("name", "body"), VERSIONS, ids=[name for name, _ in VERSIONS])
def test_no_heading_repeats_within_a_version(name, body):
    headings = re.findall(r"^#+ (.+)$", body, re.MULTILINE)
    assert [heading for heading, count in Counter(headings).items() if count > 1] == []
    assert set(headings) <= SECTIONS


def test_no_entry_repeats():
    entries = re.findall(r"^- .+(?:\n  .+)*", TEXT, re.MULTILINE)
    assert [entry for entry, count in Counter(entries).items() if count > 1] == []
