"""Settings: module and overlay become frozen dataclasses; all mistakes are reported at once."""

from dataclasses import FrozenInstanceError

import pytest

from app import config
from app.auth.keys import caller_of
from app.config import ModelSettings, ProviderSettings
from app.config.calls_at_once import AutoConcurrency
from app.config.deployments import KNOWN_CONTEXT
from app.config.keys import KEY_LIMITS
from app.providers import registry
from tests.test_config_schema import SECRET, good, mistakes


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Remove settings of the developer's environment."""
    for name in ("OPENAI_API_KEY", "ALPHANEURAL_API_KEY", "PROXY_SETTINGS", "WEB_CONCURRENCY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("LOG_FORMAT", raising=False)
    return monkeypatch.setenv


@pytest.fixture
def overlay(tmp_path, environment):
    """Load the settings with an overlay of this text."""
    path = tmp_path / "mine.py"
    environment("PROXY_SETTINGS", str(path))
    environment("ALPHANEURAL_API_KEY", "sk-mine")

    def load(text):
        path.write_text(text)
        return config.load(registry)

    load.path = path
    return load


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


def test_settings_are_frozen():
    settings = good()
    settings["PROVIDERS"]["openai"] |= {
        "base_url": "https://host/v1",
        "timeout": 5,
        "headers": {"X-Team": "search"},
        "encoding": "float",
    }
    settings["MODELS"]["m"] |= {"matryoshka": [2, 4], "pass": ["task"], "hedge": True}
    settings["KEYS"]["k"] |= {"sha256": "AB" * 32, "models": ["m"], "admin": True}
    settings["CACHE"] = {"ttl": 5, "max_bytes": 10, "scope": "key", "url": None}
    checked = config.check(settings, registry)

    provider = checked.providers["openai"]
    assert (provider.name, provider.kind, provider.timeout) == ("openai", "openai", 5.0)
    assert provider.options == {"encoding": "float"}
    model = checked.models["m"]
    assert (model.name, model.matryoshka, model.passes) == ("m", (2, 4), frozenset({"task"}))
    assert model.deployments[0].provider == "openai"
    key = checked.keys["k"]
    assert (key.sha256, key.models, key.admin) == ("ab" * 32, frozenset({"m"}), True)
    assert (checked.cache.ttl, checked.cache.max_bytes, checked.cache.scope) == (5, 10, "key")
    with pytest.raises(FrozenInstanceError):
        model.name = "other"
    with pytest.raises(TypeError):
        checked.models["other"] = model


@pytest.mark.parametrize(
    ("value", "limit", "most"),
    [
        (8, 8, 8),
        ("auto", AutoConcurrency(1, 256), 256),
        ({"auto": [4, 32]}, AutoConcurrency(4, 32), 32),
    ],
    ids=str,
)
def test_concurrency_of_a_provider(value, limit, most):
    settings = good()
    settings["PROVIDERS"]["openai"]["concurrency"] = value
    provider = config.check(settings).providers["openai"]
    assert (provider.concurrency, provider.max_concurrency) == (limit, most)


def test_defaults_are_applied():
    checked = config.check(good())
    provider = checked.providers["openai"]
    assert (provider.timeout, provider.connect_timeout, provider.concurrency) == (60, 5, 64)
    assert checked.keys["k"].models is None
    assert (checked.limits.body_bytes, checked.limits.inputs) == (32 * 2**20, 8192)
    assert (checked.cache.ttl, checked.cache.max_bytes) == (3600, 256 * 2**20)
    assert config.check({**good(), "CACHE": None}).cache is None


@pytest.mark.parametrize("name", KEY_LIMITS)
def test_every_limit_of_a_key_is_a_limit_of_its_caller(name):
    settings = good()
    settings["KEYS"]["k"][name] = 1
    assert getattr(caller_of(config.check(settings).keys["k"]), name) == 1


def test_star_means_all_models():
    settings = good()
    settings["KEYS"]["k"]["models"] = ["m", "*"]
    assert config.check(settings).keys["k"].models is None


@pytest.mark.parametrize(
    ("given", "workers"), [(None, 1), ("", 1), ("4", 4), ("0", 1), ("-2", 1), ("many", 1)]
)
def test_number_of_workers_is_read(environment, given, workers):
    if given is not None:
        environment("WEB_CONCURRENCY", given)
    assert config.check(good()).workers == workers


@pytest.mark.parametrize(
    ("matryoshka", "widths"),
    [(False, set()), (True, set(range(1, 9))), ((2, 4), {2, 4})],
)
def test_allowed_widths_of_a_model(matryoshka, widths):
    model = ModelSettings("m", (), dimensions=8, matryoshka=matryoshka)
    assert {width for width in range(1, 20) if model.can_cut_to(width)} == widths


def test_no_repr_shows_a_secret():
    provider = ProviderSettings(
        "p",
        "openai",
        "https://host/v1",
        api_key=SECRET,
        proxy="http://user:pass@proxy",
        headers={"X-Api-Key": "hidden-too"},
    )
    for shown in (repr(provider), str(provider), f"{[provider]}"):
        for secret in (SECRET, "user:pass", "hidden-too"):
            assert secret not in shown


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
