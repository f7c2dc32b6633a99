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
from app.providers.base import Capabilities

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
#: Effect of a text over the model's context, where it is known.
TOO_LONG = {
    **dict.fromkeys(["openai", "azure", "llamacpp", "nvidia"], "error there"),
    **dict.fromkeys(["cohere", "ollama", "tei", "vertex", "voyage"], "told not to cut"),
    "infinity": "cut silently",
    "local": "embedded whole",
}
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
        TOO_LONG.get(kind, "not known"),
    ]
    return f"| {' | '.join(cells)} |"


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


def test_add_a_provider_is_ten_lines():
    text = PAGE.read_text().partition("## Add a provider")[2]
    assert re.findall(r"^(\d+)\.", text, re.MULTILINE) == [str(n) for n in range(1, 11)]
    for path in re.findall(r"`((?:app|tests)/[\w/.]+)`", text):
        assert (PAGE.parents[1] / path).exists(), path


if __name__ == "__main__":
    os.chdir(PAGE.parents[1])
    print("\n".join(table()))
