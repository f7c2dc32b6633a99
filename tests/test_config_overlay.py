"""``PROXY_SETTINGS``: a file whose names replace the defaults, and its errors."""

import pytest

from app import config
from tests.overlays import environment, overlay

__all__ = ["environment", "overlay"]  # fixtures


def test_name_replaces_the_whole_default(overlay):
    before = overlay("")
    after = overlay('import os\nLIMITS = {"inputs": 7}\nhelper = 1\n_OTHER = {"not": "ours"}\n')
    assert after.limits.inputs == 7
    assert (
        after.limits.waiting == before.limits.waiting
    )  # the default of the setting, not of the module
    assert after.models == before.models
    assert after.keys == before.keys


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("LIMIT = {}", "LIMIT: unknown setting (did you mean 'LIMITS'?)"),
        ("USAGES = {}", "USAGES: unknown setting (did you mean 'USAGE'?)"),
        ("BLOCKED_KEY = ['x']", "BLOCKED_KEY: unknown setting (did you mean 'BLOCKED_KEYS'?)"),
        ("LIMITS2 = {}", "LIMITS2: unknown setting (did you mean 'LIMITS'?)"),
    ],
)
def test_a_misspelt_name_is_a_mistake_with_a_suggestion(overlay, text, complaint):
    with pytest.raises(config.SettingsError) as caught:
        overlay(text)
    assert str(caught.value) == complaint


def test_unknown_upper_case_name_has_the_hint_underscore(overlay):
    with pytest.raises(config.SettingsError) as caught:
        overlay("GIB = 2**30")
    assert str(caught.value).startswith("GIB: unknown setting (known: PROVIDERS, MODELS, ")
    assert str(caught.value).endswith("; begin a name of your own with an underscore)")


def test_constants_of_other_modules_may_be_imported_by_name(overlay):
    text = "from datetime import UTC\nfrom ssl import CERT_NONE as NONE\n_GIB = 2**30\nGib = 1\n"
    assert overlay(text).models


def test_a_missing_secret_file_is_named_and_not_the_settings_file(overlay):
    with pytest.raises(config.SettingsError) as caught:
        overlay("from pathlib import Path\n\nkey = Path('/run/secrets/none').read_text()\n")
    assert str(caught.value) == (
        f"{overlay.path}, line 3: cannot open '/run/secrets/none': No such file or directory"
    )


def test_a_file_that_ends_the_process_is_a_mistake(overlay):
    with pytest.raises(config.SettingsError, match=r"line 2: the file ends the process"):
        overlay("import sys\nsys.exit(0)\n")


def test_a_mistake_in_the_syntax_of_an_imported_file_names_that_file(overlay):
    helper = overlay.path.parent / "broken_helper.py"
    helper.write_text("x = (\n")
    with pytest.raises(config.SettingsError) as caught:
        overlay(f"import sys\nsys.path.insert(0, {str(helper.parent)!r})\nimport broken_helper\n")
    assert str(caught.value) == f"{helper}, line 1: '(' was never closed"


def test_models_are_not_merged_with_the_default_ones(overlay):
    text = 'MODELS = {"mine": {"deployments": [{"provider": "local", "model": "l2_supercat"}]}}'
    assert list(overlay(text).models) == ["mine"]


def test_replaced_provider_is_not_in_the_settings(overlay):
    with pytest.raises(config.SettingsError) as caught:
        overlay('PROVIDERS = {"mine": {"kind": "openai"}}')
    assert str(caught.value) == (
        "MODELS['wordllama']['deployments'][0]['provider']: no provider 'local' in PROVIDERS "
        "(there are 'mine')"
    )


def test_cache_can_be_turned_off(overlay):
    assert overlay("CACHE = None").cache is None


def test_docs_can_be_turned_off(overlay):
    assert not overlay('DOCS = {"enabled": False}').docs.enabled


def test_file_is_read_at_each_load(overlay):
    assert overlay('LIMITS = {"inputs": 1}').limits.inputs == 1
    assert overlay('LIMITS = {"inputs": 2}').limits.inputs == 2


def test_file_can_use_environment_and_its_path(overlay, environment):
    environment("MINE", "5")
    text = (
        "import os, pathlib\n"
        'LIMITS = {"inputs": int(os.environ["MINE"])}\n'
        "assert pathlib.Path(__file__).is_file() and __name__ != '__main__'\n"
    )
    assert overlay(text).limits.inputs == 5


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('\nimport os\nKEY = os.environ["NOT_SET"]\n', "{}, line 3: KeyError: 'NOT_SET'"),
        ("\n\nPROVIDERS = {\n", "{}, line 3: '{{' was never closed"),
        ("x = 1 / 0\n", "{}, line 1: ZeroDivisionError: division by zero"),
        ("def f():\n    return unknown\n\nf()\n", "{}, line 2: NameError: name 'unknown'"),
        ("import no_such_module_at_all\n", "{}, line 1: ModuleNotFoundError: No module named"),
    ],
)
def test_error_in_the_file_is_one_line_with_its_place(overlay, text, complaint):
    with pytest.raises(config.SettingsError) as caught:
        overlay(text)
    assert str(caught.value).startswith(complaint.format(overlay.path))
    assert "\n" not in str(caught.value)


def test_missing_environment_variable_is_named(overlay):
    with pytest.raises(config.SettingsError, match=r"set this environment variable$"):
        overlay('import os\nos.environ["NOT_SET"]\n')


def test_missing_file_is_named(overlay, environment):
    environment("PROXY_SETTINGS", "/no/such/file.py")
    with pytest.raises(config.SettingsError) as caught:
        config.load()
    assert str(caught.value) == (
        "PROXY_SETTINGS: cannot read /no/such/file.py: No such file or directory"
    )


def test_directory_is_a_mistake(overlay, environment):
    environment("PROXY_SETTINGS", str(overlay.path.parent))
    with pytest.raises(config.SettingsError, match=r"cannot read .*: Is a directory"):
        config.load()


def test_file_that_is_no_python_is_a_mistake(overlay):
    overlay.path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(config.SettingsError) as caught:
        config.load()
    assert str(caught.value).startswith(str(overlay.path))


def test_error_without_line_names_the_file(overlay):
    """Source that Python refuses for its bytes alone."""
    with pytest.raises(config.SettingsError) as caught:
        overlay("x = 1\x00")
    assert str(caught.value).startswith(str(overlay.path))
    assert "null bytes" in str(caught.value)
