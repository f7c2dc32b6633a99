"""`flask --app wsgi check --compare A B`: whether two models serve one vector space."""

import json

import pytest
from click.testing import CliRunner

from app.cli import commands as cli
from app.errors import ProviderUnavailable
from app.providers import registry
from tests.cli.checks.test_deployments import WIDTH, Space


@pytest.fixture
def compare(monkeypatch, tmp_path):
    """Compares two models "a" and "b", each with these providers, in order."""

    def run(a, b, *arguments, spaces=(), names=("a", "b"), min_cosine=0.99):
        both = {"a": a, "b": b}
        providers = {f"{m}{i}": p for m, made in both.items() for i, p in enumerate(made)}
        models = {
            name: {
                "deployments": [{"provider": f"{name}{i}", "model": name} for i in range(len(p))]
            }
            for name, p in both.items()
        }
        for name, space in zip(both, spaces, strict=False):
            models[name]["space"] = space
        settings = {
            "PROVIDERS": {name: {"kind": "openai", "api_key": "k"} for name in providers},
            "MODELS": models,
            "KEYS": {"k": {"sha256": "0" * 64}},
            "CHECK": None if min_cosine is None else {"min_cosine": min_cosine},
        }
        path = tmp_path / "settings.py"
        path.write_text("".join(f"{name} = {value!r}\n" for name, value in settings.items()))
        monkeypatch.setenv("PROXY_SETTINGS", str(path))
        monkeypatch.setattr(registry, "make", lambda settings: providers[settings.name])
        return CliRunner().invoke(cli.check, ["--compare", *names, *arguments])

    return run


def test_one_space(compare):
    result = compare([Space()], [Space(noise=0.05)], spaces=["one", "other"])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == f"a: a0/a, {WIDTH} wide, space one"
    assert lines[1] == f"b: b0/b, {WIDTH} wide, space other"
    assert lines[2].startswith("cosines of 20 texts: lowest 0.99")
    assert lines[3] == (
        "One vector space: no cosine is below 0.99. To share cache and indexes, give both the same "
        '"space".'
    )
    assert compare([Space()], [Space()], spaces=["s", "s"]).output.endswith("is below 0.99.\n")


def test_two_spaces(compare):
    result = compare([Space(1)], [Space(2)])
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == (
        "Two vector spaces: a cosine is below 0.99. An index of one has to be embedded again for "
        "the other."
    )
    assert "Both have the id s: give" in compare([Space(1)], [Space(2)], spaces=["s", "s"]).output


@pytest.mark.parametrize(("min_cosine", "code"), [(0.9, 0), (0.9999, 1)])
def test_min_cosine_is_the_settings(compare, min_cosine, code):
    result = compare([Space()], [Space(noise=0.05)], min_cosine=min_cosine)
    assert result.exit_code == code
    assert f"cosine is below {min_cosine}" in result.output


def test_min_cosine_without_a_check_is_the_default(compare):
    result = compare([Space()], [Space(noise=0.2)], min_cosine=None)
    assert result.exit_code == 1
    assert "cosine is below 0.999" in result.output


def test_two_widths_are_two_spaces(compare):
    result = compare([Space(width=8)], [Space(width=16)])
    assert result.exit_code == 1
    assert "Two vector spaces: their widths differ." in result.output


def test_a_deployment_that_does_not_answer_is_passed_over(compare):
    dead = Space(fail=ProviderUnavailable("failed with 503"))
    result = compare([dead, Space()], [Space()], "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["is_one_space"] is True
    assert found["sides"][0]["deployment"] == "a1/a"
    assert found["sides"][0]["errors"] == ["a0/a: it failed with 503"]
    result = compare([dead], [Space()])
    assert result.exit_code == 1
    assert "a: a0/a: it failed with 503" in result.output
    assert result.output.endswith("Not compared: a model could not be asked.\n")


def test_nothing_else_is_checked_beside(compare):
    result = compare([Space()], [Space()], "--all")
    assert result.exit_code == 1
    assert result.output == "--compare only compares two models: leave --all out\n"


def test_a_model_that_is_not_there_is_named(compare):
    result = compare([Space()], [Space()], names=("a", "c"))
    assert result.exit_code == 1
    assert "--compare: no model 'c' in MODELS (there are 'a', 'b')" in result.output
