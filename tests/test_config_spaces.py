"""The id of a model's vector space: changed by what changes a vector, and by nothing else."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config import spaces
from app.config.sections.declaration import declared
from app.config.sections.deployments import DeploymentSettings, ModelSettings
from app.config.sections.providers import ProviderSettings
from app.providers import registry
from tests.support.server import ROOT

#: The decision for every setting that all kinds have: whether it changes a vector.
OF_PROVIDERS = {"kind": True} | dict.fromkeys(
    [
        "base_url",
        "api_key",
        "timeout",
        "connect_timeout",
        "max_inputs",
        "max_tokens",
        "concurrency",
        "merge",
        "proxy",
        "ca_bundle",
        "headers",
    ],
    False,
)

OF_DEPLOYMENTS = {"model": True} | dict.fromkeys(
    [
        "provider",
        "weight",
        "tier",
        "max_inputs",
        "max_tokens",
        "max_item_tokens",
        "concurrency",
        "requests_per_minute",
        "tokens_per_minute",
        "price_per_million_tokens",
    ],
    False,
)

OF_MODELS = {"passes": True, "deployments": True, "space": True} | dict.fromkeys(
    ("dimensions", "matryoshka", "hedge", "tokenizer"), False
)
#: Settings without which a kind refuses its own, and a model that each kind serves.
NEEDED = {
    "azure": {"base_url": "https://a.example"},
    "bedrock": {"region": "us-east-1"},
    "databricks": {"base_url": "https://d.example"},
    "vertex": {"project": "p", "location": "global"},
}
MODELS = {"bedrock": "arn:aws:bedrock:us-east-1:1:inference-profile/x"}
#: Values of each option that differ in what they mean; the first is the default.
VALUES = {
    "access_key_id": ["AKIA", "AKIB"],
    "api": ["native", "openai"],
    "api_version": ["2024-10-21", "2025-01-01"],
    "auth": ["key", "entra"],
    "base_url": ["https://a.example", "https://b.example"],
    "encoding": ["base64", "omit"],
    "family": ["titan-v2", "cohere-v3", "nova"],
    "input_type": ["search_document", "search_query", "classification", "clustering"],
    "keep_alive": ["5m", "-1s"],
    "key_file": [None, "/nowhere"],
    "location": ["global", "us-central1"],
    "normalize": [True, False],
    "options": [{}, {"num_ctx": 8192}, {"num_ctx": 512}],
    "profile": ["a", "b"],
    "project": ["p", "q"],
    "prompts": [{}, {"query": "query"}, {"document": "query"}],
    "region": ["us-east-1", "eu-west-1"],
    "scope": ["https://a.example", "https://b.example"],
    "send_dimensions": [True, False],
    "send_tokens": [True, False],
    "send_user": [False, True],
    "api_key": [None, "k"],
}

DEFAULTS = {
    ("cohere", "truncate"): ["NONE", "START", "END"],
    ("ollama", "truncate"): [False, True],
    ("tei", "truncate"): [False, True],
    ("voyage", "truncation"): [False, True],
}


def values_of(kind, option):
    return DEFAULTS.get((kind, option)) or VALUES[option]


OPTIONS = [(kind, option) for kind in registry.kinds() for option in registry.options(kind)]


def space_of(kind, model=None, passes=(), **options):
    """The derived id of a model with one deployment of a provider with these options."""
    provider = ProviderSettings(name="p", kind=kind, options={**NEEDED.get(kind, {}), **options})
    deployment = DeploymentSettings("p", model or MODELS.get(kind, "some-model"))
    models = {"m": ModelSettings("m", (deployment,), passes=frozenset(passes))}
    return spaces.with_spaces(models, {"p": provider}, registry)["m"].space


def test_no_option_has_the_name_of_another_fact_of_the_space():
    for kind in registry.kinds():
        assert not registry.options(kind).keys() & {"kind", "model", "pass"}, kind


def test_every_general_setting_has_a_decision():
    assert set(declared(ProviderSettings)) <= OF_PROVIDERS.keys()
    assert set(declared(DeploymentSettings)) <= OF_DEPLOYMENTS.keys()
    assert set(declared(ModelSettings)) <= OF_MODELS.keys()


@given(st.sampled_from(OPTIONS), st.data())
def test_the_id_changes_exactly_if_an_option_with_an_effect_does(place, data):
    kind, option = place
    one, other = (data.draw(st.sampled_from(values_of(kind, option))) for _ in range(2))
    is_same = space_of(kind, **{option: one}) == space_of(kind, **{option: other})
    assert is_same == (one == other or not registry.effects(kind)[option].changes_vector)


@pytest.mark.parametrize(("kind", "option"), OPTIONS)
def test_a_default_that_is_spelled_out_keeps_the_id(kind, option):
    effect = registry.effects(kind)[option]
    if (kind, option) != ("bedrock", "family") and effect.changes_vector:
        assert space_of(kind) == space_of(kind, **{option: values_of(kind, option)[0]})
    elif not effect.changes_vector:
        assert space_of(kind) == space_of(kind, **{option: values_of(kind, option)[1]})


@given(
    st.sampled_from(registry.kinds()),
    st.sampled_from(registry.kinds()),
    st.sampled_from(["text-embedding-3-small", "titan-embed-text-v2", "é"]),
    st.sampled_from(["text-embedding-3-small", "titan-embed-text-v2", "é"]),
    st.sets(st.sampled_from(["task", "truncate"])),
    st.sets(st.sampled_from(["task", "truncate"])),
)
def test_kind_model_and_passed_fields_are_in_the_id(kind, other, model, another, passes, more):
    one, two = (kind, model, passes), (other, another, more)
    assert (space_of(*one) == space_of(*two)) == (one == two)


def test_options_that_are_not_used_change_nothing():
    # TEI's OpenAI API knows neither; an id that tells the family needs none.
    openai = {"api": "openai"}
    assert space_of("tei", **openai) == space_of("tei", truncate=True, normalize=False, **openai)
    titan = {"kind": "bedrock", "model": "amazon.titan-embed-text-v2:0"}
    assert space_of(**titan) == space_of(**titan, family="nova")
    # A model that takes no dimensions is not sent any, unless the operator says so.
    for kind, model in (("openai", "text-embedding-ada-002"), ("cohere", "embed-english-v3.0")):
        assert space_of(kind, model) == space_of(kind, model, send_dimensions=False)
        assert space_of(kind, model) != space_of(kind, model, send_dimensions=True)


def test_the_page_names_each_option_on_its_side():
    page = (ROOT / "docs" / "operations.md").read_text()
    rows = re.findall(r"^\| (.*?) +\| (.*?) \|$", page.partition("| in the id |")[2], re.MULTILINE)
    inside, outside = (" ".join(column) for column in zip(*rows, strict=True))
    general = {
        "base_url": "addresses",
        "api_key": "keys",
        "send_dimensions": "asked for `dimensions`",
    }
    for kind, option in OPTIONS:
        side = inside if registry.effects(kind)[option].changes_vector else outside
        words = general | {"send_tokens": "token ids are sent", "options": "Ollama's `options`"}
        assert words.get(option, f"`{option}`") in side, (kind, option)
