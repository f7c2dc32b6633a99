"""Mistakes in settings: all are reported at once, each with its name and what would be right."""

import pytest

from app import config
from app.config.sections.deployments import KNOWN_CONTEXT
from app.providers import registry
from tests.checked_settings import good, mistakes
from tests.overlays import environment as environment


def test_all_mistakes_are_reported_at_once():
    settings = good()
    settings["PROVIDERS"]["openai"]["timeout"] = 0
    settings["PROVIDERS"]["two"] = {"kind": "opnai"}
    settings["MODELS"]["m"]["deployments"][0]["provider"] = "gone"
    settings["MODELS"]["n"] = {"deployments": []}
    settings["KEYS"]["k"]["models"] = ["nothing"]
    settings["CACHE"] = {"ttl": "x"}
    settings["NONSENSE"] = 1
    found = mistakes(settings)
    assert sorted(line.partition(": ")[0] for line in found) == [
        "CACHE['ttl']",
        "KEYS['k']['models'][0]",
        "MODELS['m']['deployments'][0]['provider']",
        "MODELS['n']['deployments']",
        "NONSENSE",
        "PROVIDERS['openai']['timeout']",
        "PROVIDERS['two']['kind']",
    ]


def test_unknown_kind_lists_the_known_ones():
    settings = good()
    settings["PROVIDERS"]["openai"]["kind"] = "zzzzz"
    known = ", ".join(map(repr, registry.kinds()))
    assert mistakes(settings) == [
        f"PROVIDERS['openai']['kind']: no kind 'zzzzz' in app/providers (there are {known})"
    ]


def test_without_kinds_options_of_kinds_are_unchecked():
    settings = good()
    settings["PROVIDERS"]["openai"] |= {"kind": "zzzzz", "encoding": "x", "timeout": 5}
    provider = config.check(settings).providers["openai"]
    assert (provider.kind, provider.timeout, provider.options) == ("zzzzz", 5, {"encoding": "x"})
    settings["PROVIDERS"]["openai"]["timeout"] = 0
    with pytest.raises(config.SettingsError, match="timeout"):
        config.check(settings)


def test_unknown_name_lists_the_known_ones():
    settings = good()
    settings["LOGS"] = {"zzz": 1}
    assert mistakes(settings) == ["LOGS['zzz']: unknown setting (known: format, level)"]


def test_empty_settings_name_the_missing_ones():
    assert mistakes({}) == [
        "PROVIDERS: must be set",
        "MODELS: must be set",
        "KEYS: must be set",
    ]


def test_missing_library_is_named_with_its_install_command(monkeypatch):
    def options(kind):
        raise ModuleNotFoundError(name="boto3")

    monkeypatch.setattr(registry, "options", options)
    assert mistakes(good()) == [
        "PROVIDERS['openai']['kind']: 'openai' needs the package 'boto3': pip install '.[openai]'"
    ]


@pytest.mark.parametrize("name", ["value", "key", "kind", "it's"])
def test_messages_show_any_name_of_a_provider(name):
    settings = good()
    settings["PROVIDERS"] = {name: {"kind": "openai", "timeout": 0}}
    settings["MODELS"]["m"]["deployments"][0]["provider"] = name
    (line,) = mistakes(settings)
    assert line.startswith(f"PROVIDERS[{name!r}]['timeout']: ")


@pytest.mark.parametrize("providers", [{1: {"kind": "openai"}}, {1: {}, "a": {"kind": "openai"}}])
def test_name_that_is_no_string_is_a_mistake(providers):
    settings = good()
    settings["PROVIDERS"] = providers
    assert "PROVIDERS[1]: must be a string" in mistakes(settings)


def test_deployments_in_a_tuple_are_checked_too():
    settings = good()
    settings["MODELS"]["m"]["deployments"] = ({"provider": "gone", "model": "x"},)
    (line,) = mistakes(settings)
    assert "no provider 'gone' in PROVIDERS" in line


@pytest.mark.parametrize("models", [("gone",), {"gone"}])
def test_models_of_a_key_in_a_tuple_or_a_set_are_checked_too(models):
    settings = good()
    settings["KEYS"]["k"]["models"] = models
    (line,) = mistakes(settings)
    assert "no model 'gone' in MODELS" in line


def test_matryoshka_width_over_dimensions_is_a_mistake():
    settings = good()
    settings["MODELS"]["m"]["matryoshka"] = [4, 16]  # of vectors 8 wide
    (line,) = mistakes(settings)
    assert line.startswith("MODELS['m']['matryoshka']: ")


def test_matryoshka_needs_dimensions():
    settings = good()
    settings["MODELS"]["m"].update(dimensions=None, matryoshka=True)
    assert mistakes(settings) == ["MODELS['m']['dimensions']: must be set where 'matryoshka' is"]


def test_tokenizer_is_a_name_or_an_existing_file(tmp_path):
    settings = good()
    settings["MODELS"]["m"]["tokenizer"] = "/no/such/tokenizer.json"
    assert mistakes(settings) == ["MODELS['m']['tokenizer']: no file '/no/such/tokenizer.json'"]
    (tmp_path / "tokenizer.json").write_text("not a tokenizer")
    settings["MODELS"]["m"]["tokenizer"] = str(tmp_path / "tokenizer.json")
    with pytest.raises(config.SettingsError, match=r"^MODELS\['m'\]\['tokenizer'\]: cannot load"):
        config.load_tokenizers(config.check(settings))
    assert config.load_tokenizers(config.check(good())) == {}


def test_a_limit_of_each_input_needs_a_tokenizer():
    settings = good()
    settings["MODELS"]["m"]["deployments"][0]["max_item_tokens"] = 512
    assert mistakes(settings) == [
        "MODELS['m']['deployments'][0]['max_item_tokens']: needs the 'tokenizer' of the model, "
        "which counts the tokens of an input"
    ]
    settings["MODELS"]["m"]["tokenizer"] = "cl100k_base"
    (deployment,) = config.check(settings).models["m"].deployments
    assert deployment.max_item_tokens == 512


@pytest.mark.parametrize("given", [{}, {"max_item_tokens": None}])
def test_no_limit_of_each_input_needs_no_tokenizer(given):
    settings = good()
    settings["MODELS"]["m"]["deployments"][0].update(given)
    (deployment,) = config.check(settings).models["m"].deployments
    assert deployment.max_item_tokens == given.get("max_item_tokens", KNOWN_CONTEXT)


def test_missing_library_of_a_tokenizer_is_a_mistake(monkeypatch):
    def load(name):
        raise ModuleNotFoundError(name="tiktoken")

    monkeypatch.setattr("app.tokens.tokenizers.load", load)
    settings = good()
    settings["MODELS"]["m"]["tokenizer"] = "cl100k_base"
    with pytest.raises(config.SettingsError) as caught:
        config.load_tokenizers(config.check(settings))
    assert str(caught.value) == (
        "MODELS['m']['tokenizer']: needs the package 'tiktoken': pip install '.[tokenizers]'"
    )
