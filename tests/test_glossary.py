"""docs/glossary.md defines words that the code really uses."""

import re

import pytest

from tests.support.server import ROOT

GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
WORDS = [
    row.split("|")[1].strip()
    for row in GLOSSARY.splitlines()
    if row.startswith("| ") and not row.startswith("| word |")
]
CODE = " ".join(
    " ".join(path.read_text().replace("#", " ").split()) for path in (ROOT / "app").rglob("*.py")
)


@pytest.mark.parametrize("word", WORDS)
def test_each_word_of_the_glossary_is_used_in_app(word: str):
    stem = re.escape(word.removesuffix("ion")).replace(r"\ ", "[ -]")
    assert re.search(rf"\b{stem}", CODE, re.I), f"docs/glossary.md: {word!r} is not used in app/"


def test_the_glossary_defines_each_word_once():
    assert len(WORDS) > 25
    assert len(set(WORDS)) == len(WORDS)
