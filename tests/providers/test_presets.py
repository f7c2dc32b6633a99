"""Every preset against a fake server by its provider's own reference."""

import json

import pytest

from app.config import SettingsError, check
from app.domain import Call
from app.providers import registry
from app.providers.presets import PRESETS
from tests.providers.contract import ProviderContract, provider_settings, wire_of
from tests.providers.fakes.openai import OpenAIFake, Spec

TEXT_ONLY = {"tokens": False}
#: The sources are those in app/providers/presets.py.
SPECS = {
    "mistral": Spec(
        fields=frozenset({"encoding_format", "output_dimension", "output_dtype", "metadata"}),
        dimensions_field="output_dimension",
        limit=256,
        error="pydantic",
        **TEXT_ONLY,
    ),
    "jina": Spec(
        fields=frozenset({"dimensions", "late_chunking", "truncate", "normalized"}),
        values={
            "embedding_type": ("float", "base64", "binary", "ubinary"),
            "task": ("retrieval.query", "retrieval.passage", "text-matching", "classification"),
        },
        encoding_field="embedding_type",
        salts=("task",),
        error="detail",
        **TEXT_ONLY,
    ),
    "together": Spec(fields=frozenset(), dimensions_field=None, limit=256, **TEXT_ONLY),
    "databricks": Spec(
        prefix="/serving-endpoints",
        path="/a-model/invocations",
        fields=frozenset({"instruction"}),
        required=frozenset({"input"}),
        dimensions_field=None,
        limit=150,
        error="databricks",
        **TEXT_ONLY,
    ),
    "dashscope": Spec(
        prefix="/compatible-mode/v1",
        fields=frozenset({"dimensions", "encoding_format"}),
        encodings=("float",),
        limit=10,
        **TEXT_ONLY,
    ),
    "nvidia": Spec(
        fields=frozenset({"encoding_format", "dimensions", "user", "truncate"}),
        values={"input_type": ("query", "passage")},
        required=frozenset({"model", "input", "input_type"}),
        salts=("input_type",),
        limit=50,
        error="detail",
        **TEXT_ONLY,
    ),
    "vllm": Spec(
        fields=frozenset({"encoding_format", "dimensions", "user", "truncate_prompt_tokens"}),
        limit=None,
        error="flat",
    ),
    "infinity": Spec(
        prefix="",
        fields=frozenset({"encoding_format", "dimensions", "user", "modality"}),
        **TEXT_ONLY,
    ),
    "github": Spec(prefix="/inference", **TEXT_ONLY),
    "llamacpp": Spec(
        fields=frozenset({"encoding_format"}),
        dimensions_field=None,
        limit=None,
        error="llamacpp",
        batch=512,
    ),
    "localai": Spec(
        fields=frozenset({"encoding_format", "user"}), dimensions_field=None, limit=None
    ),
    "deepinfra": Spec(
        prefix="/v1/openai",
        fields=frozenset({"encoding_format", "dimensions", "service_tier"}),
        limit=1024,
        error="pydantic",
        **TEXT_ONLY,
    ),
    "fireworks": Spec(
        prefix="/inference/v1",
        fields=frozenset({"dimensions", "prompt_template", "normalize", "return_logits"}),
        encodings=(),
        **TEXT_ONLY,
    ),
}


def salted(name, query, passage):
    return {"query": json.dumps({name: query}), "document": json.dumps({name: passage})}


#: Differences from the defaults of the contract.
OTHERWISE = {
    "jina": {"salts": salted("task", "retrieval.query", "retrieval.passage")},
    "together": {"dimensions": False},
    "databricks": {"dimensions": False},
    "nvidia": {
        "salts": {
            None: json.dumps({"input_type": "passage"}),
            **salted("input_type", "query", "passage"),
        },
        "takes_user": True,
    },
    "vllm": {"tokens": True, "takes_user": True},
    "infinity": {"takes_user": True, "dimensions": False},
    "github": {"takes_user": True},
    "llamacpp": {"dimensions": False, "tokens": True},
    "localai": {"dimensions": False, "tokens": True},
}


def suite(kind):
    """Return the test class of the contract for a preset."""
    variants = [{}] + [{"encoding": name} for name in PRESETS[kind].encodings[1:]]
    attributes = {"kind": kind, "variants": variants, **OTHERWISE.get(kind, {})}
    attributes["new_fake"] = lambda self: OpenAIFake(SPECS[kind])
    return type(f"Test{kind.title()}", (ProviderContract,), attributes)


globals().update({f"Test{kind.title()}": suite(kind) for kind in PRESETS})


def test_every_preset_is_a_kind_with_a_fake():
    assert SPECS.keys() == PRESETS.keys()
    assert set(registry.kinds()) >= PRESETS.keys() | {"openai", "azure", "voyage", "tei", "local"}
    assert not {"presets", "dialect", "base"} & set(registry.kinds())


@pytest.mark.parametrize("kind", sorted(PRESETS.keys() - {"databricks"}))
def test_kind_and_key_are_sufficient_settings(kind):
    wire = wire_of(kind=kind, api_key="a-key")
    assert wire.base_url.startswith(("https://", "http://127.0.0.1"))
    assert registry.make(provider_settings({"kind": kind, "api_key": "a-key"})) is not None


def test_databricks_needs_a_base_url():
    given = {"PROVIDERS": {"db": {"kind": "databricks", "api_key": "a-key"}}, "MODELS": {}}
    with pytest.raises(SettingsError, match=r"PROVIDERS\['db'\]\['base_url'\]: must be set"):
        check(given, registry)
    given["PROVIDERS"]["db"]["base_url"] = "db.example"
    with pytest.raises(SettingsError, match=r"PROVIDERS\['db'\]\['base_url'\]: must be an http"):
        check(given, registry)


def test_limits_of_special_models():
    mistral, jina = wire_of(kind="mistral"), wire_of(kind="jina")
    assert not mistral.limits("mistral-embed").dimensions
    assert mistral.limits("codestral-embed-2505").dimensions
    assert jina.limits("jina-embeddings-v4").max_inputs == 512
    assert jina.limits("jina-embeddings-v3").max_inputs == 2048
    assert jina.limits("jina-embeddings-v5-text-small").dimensions
    assert not jina.limits("jina-embeddings-v2-base-en").dimensions
    dashscope = wire_of(kind="dashscope")
    for model, inputs, dimensions in (("v1", 25, False), ("v2", 25, False), ("v4", 10, True)):
        takes = dashscope.limits(f"text-embedding-{model}")
        assert (takes.max_inputs, takes.dimensions) == (inputs, dimensions)


@pytest.mark.parametrize(
    ("model", "query", "document"),
    [
        ("jina-embeddings-v2-base-code", None, None),
        ("jina-embeddings-v3", "retrieval.query", "retrieval.passage"),
        ("jina-embeddings-v4", "retrieval.query", "retrieval.passage"),
        ("jina-embeddings-v5-text-nano", "retrieval.query", "retrieval.passage"),
        ("jina-clip-v1", None, None),
        ("jina-clip-v2", "retrieval.query", None),
        ("jina-code-embeddings-1.5b", "nl2code.query", "nl2code.passage"),
    ],
)
def test_jina_models_are_sent_only_their_tasks(model, query, document):
    """api.jina.ai/openapi.json: a schema a model; another task is a 422."""
    for hint, task in (("query", query), ("document", document), (None, None)):
        out = wire_of(kind="jina").build(Call(model, ["x"], 8, input_type=hint))
        assert json.loads(out.body).get("task") == task


def sent(kind, **call):
    asked = Call("a model", ["a text"], 8, **call)
    out = wire_of(kind=kind, base_url="https://x", api_key="k").build(asked)
    return out.path, json.loads(out.body)


#: One example request of each reference, without defaults, and without the encoding where there is
#: a choice: the call, and the parts of the body that differ from OpenAI's.
GOLDEN = {
    "databricks": ({}, {"model": None}),
    "dashscope": ({"dimensions": 1024}, {"dimensions": 1024, "encoding_format": "float"}),
    "deepinfra": ({}, {"encoding_format": "base64"}),
    "fireworks": ({"dimensions": 2}, {"dimensions": 2}),
    "github": ({"dimensions": 256}, {"dimensions": 256, "encoding_format": "base64"}),
    "infinity": ({"dimensions": 64}, {"encoding_format": "base64"}),
    "jina": ({"input_type": "query"}, {"task": "retrieval.query", "embedding_type": "base64"}),
    "llamacpp": ({"dimensions": 64}, {"encoding_format": "base64"}),
    "localai": ({"dimensions": 64}, {"encoding_format": "base64"}),
    "mistral": ({"dimensions": 256}, {"output_dimension": 256, "encoding_format": "base64"}),
    "nvidia": ({"input_type": "query"}, {"input_type": "query", "encoding_format": "base64"}),
    "together": ({"dimensions": 64}, {}),
    "vllm": ({"user": "u"}, {"user": "u", "encoding_format": "base64"}),
}


def test_every_preset_has_an_example():
    assert GOLDEN.keys() == PRESETS.keys()


@pytest.mark.parametrize("kind", GOLDEN)
def test_documented_bodies_are_sent(kind):
    asked, own = GOLDEN[kind]
    body = {"model": "a model", "input": ["a text"], **own}
    expected = {name: value for name, value in body.items() if value is not None}
    path = "/a%20model/invocations" if kind == "databricks" else "/embeddings"
    assert sent(kind, **asked) == (path, expected)


def test_passed_fields_override_the_hint_but_not_the_encoding():
    """An answer in an unexpected encoding would be read as wrong vectors."""
    passed = {"task": "text-matching", "embedding_type": "ubinary"}
    body = sent("jina", input_type="query", passed=passed)[1]
    assert (body["task"], body["embedding_type"]) == ("text-matching", "base64")


def test_settings_of_other_kinds_are_unknown():
    assert set(registry.options("together")) == set()
    assert set(registry.options("dashscope")) == {"send_dimensions"}
    assert set(registry.options("vllm")) == {
        "encoding",
        "send_dimensions",
        "send_tokens",
        "send_user",
    }
