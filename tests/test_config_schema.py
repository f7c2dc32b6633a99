"""Every mistake in the settings is one line with the setting and what would be right."""

import pytest

from app import config
from tests.checked_settings import SECRET, good, mistakes, put
from tests.config_mistakes import KEY, TABLE


def test_valid_settings_are_accepted():
    config.check(good())


@pytest.mark.parametrize(
    ("path", "value", "line"), TABLE, ids=[line.partition(": ")[0] for *_, line in TABLE]
)
def test_each_mistake_is_one_line(path, value, line):
    settings = good()
    put(settings, path, value)
    found = mistakes(settings)
    assert found == [line]
    assert SECRET not in found[0]


def test_digests_are_compared_without_case():
    settings = good()
    settings["KEYS"] = {"a": {"sha256": "ab" * 32}, "b": {"sha256": "AB" * 32}}
    assert mistakes(settings) == ["KEYS['b']['sha256']: is that of 'a' too: a key has one name"]


def test_names_outside_headers_may_be_any_language():
    settings = good()
    settings["PROVIDERS"]["hébergeur"] = {"kind": "openai"}
    settings["KEYS"]["поиск"] = KEY
    assert "поиск" in config.check(settings).keys
