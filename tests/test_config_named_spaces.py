"""The vector space of a model whose deployments share one, and where the operator must name it."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app import config
from app.config import spaces
from app.providers import registry
from tests.checked_settings import good

#: Ids that clients store beside their indexes: one that changes costs them a new index.
KNOWN = {}


def settings_with(*deployments, model=None, **options):
    provider = {"kind": "openai", "api_key": "sk-0123456789"}
    providers = {
        "a": provider,
        "b": {**provider, "base_url": "https://b.example/v1", "timeout": 5, "concurrency": 2},
        "tokens": {**provider, "send_tokens": False},
        "azure": {"kind": "azure", "base_url": "https://a.example", "api_key": "k"},
    }
    made = [{"provider": name, "model": served} for name, served in deployments]
    models = {"m": {"deployments": made, **options}}
    return {**good(), "PROVIDERS": providers, "MODELS": models}


def test_deployments_of_one_space_keep_its_id():
    alone = config.check(settings_with(("a", "x")), registry).models["m"].space
    both = config.check(settings_with(("a", "x"), ("b", "x")), registry).models["m"].space
    assert alone == both
    assert re.fullmatch("auto-[0-9a-f]{16}", alone)


def test_deployments_that_differ_need_a_name():
    with pytest.raises(config.SettingsError) as caught:
        config.check(settings_with(("a", "x"), ("b", "x"), ("azure", "y")), registry)
    assert str(caught.value) == (
        "MODELS['m']['space']: must be set, because what a/x and azure/y embed with differs: "
        "'kind' ('openai', 'azure'), 'model' ('x', 'y'). Vectors of two spaces mixed in one index "
        "make its searches wrong: if these are one space, name it (`flask --app wsgi check` then "
        "compares their vectors)"
    )
    with pytest.raises(config.SettingsError, match=r"'send_tokens' \(True, False\)"):
        config.check(settings_with(("a", "x"), ("tokens", "x")), registry)
    named = settings_with(("a", "x"), ("azure", "y"), space="openai/text-embedding-3-small")
    assert config.check(named, registry).models["m"].space == "openai/text-embedding-3-small"


def test_options_are_compared_as_json():
    def settings(one, other):
        given = settings_with(("a", "x"), ("b", "x"))
        for name, options in (("a", one), ("b", other)):
            given["PROVIDERS"][name] = {"kind": "ollama", "options": options}
        return given

    same = settings({"stop": ("a",), "n": 1}, {"n": 1, "stop": ["a"]})
    assert config.check(same, registry).models["m"].space
    with pytest.raises(config.SettingsError, match=r"'options' \({'n': 1}, {'n': True}\)"):
        config.check(settings({"n": 1}, {"n": True}), registry)
    with pytest.raises(config.SettingsError) as caught:
        config.check(settings({"n": {1, 2}}, {}), registry)
    assert str(caught.value) == (
        "PROVIDERS['a']['options']: cannot be written as JSON: Object of type set is not JSON "
        "serializable"
    )


def test_models_of_one_derived_id_are_apart_where_no_address_serves_both():
    settings = settings_with(("a", "x"))
    served = {"one": "a", "alias": "a", "other": "b", "both": "ab", "far": "c", "else": "c"}
    for name, providers in served.items():
        made = [{"provider": provider, "model": "x"} for provider in providers]
        settings["MODELS"][name] = {"deployments": made}
    settings["PROVIDERS"]["c"] = settings["PROVIDERS"]["b"]
    settings["MODELS"]["named"] = {**settings["MODELS"]["far"], "space": "x"}
    models = config.check(settings, registry).models
    addresses = {"a": "http://a", "b": "http://b", "c": "http://c"}
    near = dict.fromkeys(["m", "one", "alias", "other", "both"], "alias")
    assert spaces.served_apart(models, addresses) == {**near, "far": "else", "else": "else"}
    assert spaces.served_apart(models, {**addresses, "c": "http://b"}) == {}


def test_all_models_that_need_a_name_are_found_at_once():
    settings = settings_with(("a", "x"), ("azure", "x"))
    settings["MODELS"]["n"] = settings["MODELS"]["m"]
    with pytest.raises(config.SettingsError) as caught:
        config.check(settings, registry)
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "MODELS['m']['space']",
        "MODELS['n']['space']",
    ]


@given(st.text(st.characters(max_codepoint=0x17F), max_size=102))
@example("modèle-1")  # an answer's header can have it, but OpenAI's SDK cannot send it
def test_a_named_space_can_be_a_header(name):
    settings = settings_with(("a", "x"), space=name)
    if re.fullmatch(r"[!-+\--~]{1,100}", name):
        assert config.check(settings, registry).models["m"].space == name
    else:
        with pytest.raises(config.SettingsError) as caught:
            config.check(settings, registry)
        text = "MODELS['m']['space']: must be 1 to 100 printable ASCII characters"
        assert str(caught.value).startswith(text)
