"""Where settings come from, by the source text of a settings file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.documentation import MODULE
from app.config.origins import origin_of, origins

FILE = b"""
import os
from os import environ
_TOKEN = os.environ["TOKEN"]
PROVIDERS = {
    "a": {"kind": "openai", "api_key": os.environ["A_KEY"], "headers": {"x": f"t {_TOKEN}"}},
    "b": {"kind": "openai", "api_key": environ.get("B_KEY", "")},
    **others(),
}
if os.getenv("MORE"):
    PROVIDERS["c"] = {"kind": "tei"}
    MODELS: dict = {"m": {"dimensions": 8}}
else:
    MODELS |= {"n": {}}
PROVIDERS["a"]["timeout"] = 5
KEYS = read_keys(os.environ["KEY_FILE"])

def unrelated():
    CACHE = None
    return os.environ["NOT_OF_A_SETTING"]
"""
VARIABLES = {"TOKEN": "", "A_KEY": "", "MORE": "", "KEY_FILE": ""}


@pytest.mark.parametrize(
    ("path", "origin"),
    [
        (("PROVIDERS", "a", "kind"), "file"),
        (("PROVIDERS", "a", "api_key"), "environment: A_KEY"),
        (("PROVIDERS", "a", "headers", "x"), "environment: TOKEN"),
        (("PROVIDERS", "a", "timeout"), "file"),
        (("PROVIDERS", "b", "api_key"), "file"),  # its variable is not set
        (("PROVIDERS", "c", "kind"), "environment: MORE"),
        (("MODELS", "m", "dimensions"), "environment: MORE"),
        (("KEYS", "any", "admin"), "environment: KEY_FILE"),
        (("CACHE", "ttl"), "default"),
    ],
)
def test_origin_is_read_off_the_file(path, origin):
    assert origin_of(path, origins(FILE), {}, VARIABLES) == origin


def test_default_settings_depend_on_variables_that_are_set():
    module = origins(MODULE.read_bytes())
    for path, variable in (
        (("PROVIDERS", "openai", "api_key"), "OPENAI_API_KEY"),
        (("KEYS", "default", "sha256"), "ALPHANEURAL_API_KEY"),
        (("LOGS", "format"), "LOG_FORMAT"),
    ):
        assert origin_of(path, {}, module, {variable: "x"}) == f"environment: {variable}"
        assert origin_of(path, {}, module, {}) == "default"
        whole = {path[:1]: frozenset()}  # a file replaces each name whole
        assert origin_of(path, whole, module, {variable: "x"}) == "file"


@given(st.one_of(st.binary(), st.text().map(lambda text: text.encode("utf-8", "replace"))))
def test_any_text_has_some_origins(source):
    assert isinstance(origins(source), dict)


def test_reading_a_file_does_not_run_it():
    assert origins(b"raise SystemExit\nX = open('/no/such/file')") == {("X",): frozenset()}
