"""docs/providers.md against the code. ``python -m tests.providers.test_docs`` prints the table."""

import json
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from app import config
from app.domain import Call
from app.providers import presets, registry
from app.providers.base import Capabilities, LongText
from app.providers.contexts import CONTEXTS, context_of

PAGE = Path(__file__).parents[2] / "docs" / "providers.md"
HEAD = [
    "kind",
    "inputs",
    "tokens",
    "dimensions",
    "token ids",
    "user",
    "input_type",
    "a text too long",
]
#: Hosted kinds of which neither documentation nor source code says what they do with a long text.
UNDOCUMENTED = {"databricks", "fireworks", "together"}
KEYS = {"k": {"sha256": "0" * 64, "models": ["*"]}}


def sections() -> dict[str, str]:
    """Return the section of each kind."""
    parts = re.split(r"^### `(\w+)`", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def example(kind: str) -> config.Settings:
    """Return the settings in the section of a kind, checked as at a start."""
    code = re.search(r"```python\n(.*?)```", sections()[kind], re.DOTALL)[1]
    names: dict[str, Any] = {"os": type("os", (), {"environ": defaultdict(lambda: "a-key")})}
    exec(code, names)
    return config.check(
        {"PROVIDERS": names["PROVIDERS"], "MODELS": names["MODELS"], "KEYS": KEYS, "CACHE": None},
        registry,
    )


def row(kind: str) -> str:
    """Return the row of the table for a kind, by its example."""
    settings = example(kind)
    (model,) = settings.models.values()
    name = model.deployments[0].model
    made = registry._module(kind).make(settings.providers[kind])
    takes: Capabilities = made.limits(name)
    cells = [
        f"[`{kind}`](#{anchor(kind)})",
        f"{takes.max_inputs:,}" if takes.max_inputs else "any",
        f"{takes.max_tokens:,}" if takes.max_tokens else "any",
        "yes" if takes.dimensions else "no",
        "yes" if takes.tokens else "no",
        "can be told" if "send_user" in registry.options(kind) else "no",
        hinted(kind, made, name),
        too_long(kind, name, takes),
    ]
    return f"| {' | '.join(cells)} |"


def too_long(kind: str, model: str, takes: Capabilities) -> str:
    """What becomes of a text over the context of the model."""
    context = context_of(kind, model, takes.long_text)
    here = "" if context is None else f"; refused here over {context:,}, with a `tokenizer`"
    there = takes.long_text.value
    return (f"**{there}**" if takes.long_text is LongText.CUT_SILENTLY else there) + here


def anchor(kind: str) -> str:
    title = re.search(rf"^### (`{kind}`.*)$", PAGE.read_text(), re.MULTILINE)[1]
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def hinted(kind: str, made: Any, model: str) -> str:
    """Return whether requests for a query and for a document differ."""
    if not hasattr(made, "build"):
        return "no"
    if "prompts" in registry.options(kind):
        return "with `prompts`"
    if kind == "vertex":
        made._token = lambda: "a-token"
    calls = [Call(model, ["x"], None, input_type=hint) for hint in ("query", "document")]
    query, document = (json.loads(made.build(call).body) for call in calls)
    return "yes" if query != document else "no"


def table() -> list[str]:
    return [
        f"| {' | '.join(HEAD)} |",
        "|---" * len(HEAD) + "|",
        *(row(kind) for kind in registry.kinds()),
    ]


def test_every_kind_has_its_section():
    assert sorted(sections()) == registry.kinds()


@pytest.mark.parametrize("kind", registry.kinds())
def test_row_and_settings_of_the_section_are_right(kind):
    try:
        expected = row(kind)
    except (ModuleNotFoundError, config.SettingsError) as error:
        if "pip install" in str(error):
            pytest.skip(str(error))
        raise
    assert expected in PAGE.read_text().splitlines()


@pytest.mark.parametrize("kind", registry.kinds())
def test_every_option_of_a_kind_is_explained(kind):
    try:
        options = registry.options(kind)
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed")
    missing = [name for name in options if f'"{name}"' not in sections()[kind]]
    assert not missing


@pytest.mark.parametrize("kind", sorted(presets.PRESETS))
def test_no_refused_setting_is_explained(kind):
    """Such as a setting of another preset, in a copied section."""
    others = set().union(*map(presets.options_of, presets.PRESETS)) - registry.options(kind).keys()
    assert not [name for name in others - {"base_url"} if f'"{name}"' in sections()[kind]]


def limits(kind: str, model: str, **options: Any) -> Capabilities:
    settings = config.ProviderSettings("p", kind, base_url="http://127.0.0.1", options=options)
    found: Capabilities = registry._module(kind).make(settings).limits(model)
    return found


def test_only_kinds_without_documentation_do_not_say_what_becomes_of_a_long_text():
    rows = {
        kind: re.search(rf"^\| \[`{kind}`\].*$", PAGE.read_text(), re.M)[0] for kind in sections()
    }
    assert {kind for kind, text in rows.items() if "not known" in text} == UNDOCUMENTED


@pytest.mark.parametrize("kind", [kind for kind in registry.kinds() if kind != "local"])
def test_every_kind_names_a_page_of_its_provider_and_the_day_it_was_read(kind):
    if kind in presets.PRESETS:
        text = Path(presets.__file__).read_text()
        source = re.search(rf'((?: +#.*\n)+) +"{kind}": Dialect', text)[1]
    else:
        source = registry._module(kind).__doc__
    assert re.search(r"\w+\.(?:com|org|ai|io|dev|eu)\b", source)
    assert re.search(r"\b20\d\d-\d\d-\d\d\b", source)


@pytest.mark.parametrize(
    ("kind", "model", "options", "long_text"),
    [
        ("cohere", "embed-v4.0", {"truncate": "END"}, LongText.TOLD_TO_CUT),
        ("ollama", "m", {"truncate": True}, LongText.TOLD_TO_CUT),
        ("tei", "m", {"truncate": True}, LongText.TOLD_TO_CUT),
        ("tei", "m", {"api": "openai"}, LongText.CUT_SILENTLY),
        ("voyage", "voyage-3.5", {"truncation": True}, LongText.TOLD_TO_CUT),
        ("openai", "of another server", {}, LongText.NOT_KNOWN),
    ],
)
def test_settings_change_what_becomes_of_a_long_text(kind, model, options, long_text):
    assert limits(kind, model, **options).long_text is long_text


def test_a_context_is_the_default_where_the_provider_cuts_and_at_openai():
    cut, not_cut = LongText.CUT_SILENTLY, LongText.TOLD_NOT_TO_CUT
    assert context_of("gemini", "gemini-embedding-001", cut) == 2048
    assert context_of("gemini", "models/gemini-embedding-2-preview", cut) == 8160
    assert context_of("tei", "BAAI/bge-small-en-v1.5", cut) == 512
    assert context_of("tei", "BAAI/bge-small-en-v1.5", not_cut) is None
    assert context_of("openai", "text-embedding-3-large", LongText.ERROR_THERE) == 8192
    assert context_of("openai", "text-embedding-4", LongText.ERROR_THERE) is None
    assert set(CONTEXTS) <= set(registry.kinds())


def test_add_a_provider_is_ten_lines():
    text = PAGE.read_text().partition("## Add a provider")[2]
    assert re.findall(r"^(\d+)\.", text, re.MULTILINE) == [str(n) for n in range(1, 11)]
    for path in re.findall(r"`((?:app|tests)/[\w/.]+)`", text):
        assert (PAGE.parents[1] / path).exists(), path


if __name__ == "__main__":
    os.chdir(PAGE.parents[1])
    print("\n".join(table()))
