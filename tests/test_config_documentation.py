"""Documentation of the settings is generated from their declarations, and current."""

import pytest

from app.config.documentation import MODULE, PAGE, module, page
from app.config.sections.declaration import declared
from app.config.sections.model import NAMES, Settings

CURRENT = "run: python -m app.config.documentation"


def declarations(settings):
    """Return every declared setting below a dataclass."""
    for setting in declared(settings).values():
        yield setting
        inner = getattr(setting.check, "settings", None)
        if inner is not None:
            yield from declarations(inner)


def test_comments_of_the_default_settings_are_current():
    assert module(MODULE.read_text()) == MODULE.read_text(), CURRENT


def test_the_page_of_settings_is_current():
    assert page() == PAGE.read_text(), CURRENT


def test_every_setting_says_what_it_takes_and_why():
    assert all(setting.values and setting.reason for setting in declarations(Settings))


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_has_a_default_and_a_comment(name):
    lines = MODULE.read_text().splitlines()
    (at,) = [i for i, line in enumerate(lines) if line.partition(" ")[0].rstrip(":") == name]
    assert lines[at - 1].startswith("#:")


def test_generating_comments_keeps_the_code():
    assert module("import os\n#: old\n#: text\nLOGS = {}  # mine\n").splitlines() == [
        "import os",
        *module("LOGS = {}").splitlines()[:-1],
        "LOGS = {}  # mine",
    ]
