"""The command `simulate` as an operator uses it."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from app.cli.simulate import simulate
from tests.overlays import environment, overlay
from tests.support.server import ROOT

__all__ = ["environment", "overlay"]  # fixtures

EXAMPLE = ROOT / "docs" / "load.json"
CALLER = {"key": "k", "model": "wordllama", "clients": 1}


def run(*arguments):
    return CliRunner().invoke(simulate, [str(argument) for argument in arguments])


@pytest.fixture
def simulated(tmp_path):
    """Run the command with a load of this JSON, or of this text."""

    def invoke(load, *arguments):
        path = tmp_path / "load.json"
        path.write_text(load if isinstance(load, str) else json.dumps(load))
        return run(path, "--seconds", 2, *arguments)

    return invoke


def test_the_example_runs_without_any_settings(environment):
    result = run(EXAMPLE, "--seconds", 10)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "9 s after the warm-up, 1 worker"
    assert lines[2].split()[:3] == ["key", "tier", "requests"]
    assert [line.split()[:2] for line in lines[3:6]] == [
        ["search", "default"],
        ["papers", "flex"],
        ["mails", "flex"],
    ]
    assert lines[-1].endswith("0.001 s + 0.002 s a text")


def test_compare_shows_each_key_with_and_without_shares(environment):
    lines = run(EXAMPLE, "--seconds", 10, "--compare").stdout.splitlines()
    assert lines[2].split()[:3] == ["key", "shares", "tier"]
    assert [line.split()[:2] for line in lines[3:9:2]] == [
        ["search", "as"],
        ["papers", "as"],
        ["mails", "as"],
    ]
    assert [line.split()[:2] for line in lines[4:9:2]] == [
        ["search", "none"],
        ["papers", "none"],
        ["mails", "none"],
    ]


def test_json_has_the_figures_of_all_runs(environment):
    result = run(EXAMPLE, "--seconds", 10, "--compare", "--json", "--seed", 3)
    found = json.loads(result.stdout)
    assert (found["seconds"], found["workers"], found["seed"]) == (9, 1, 3)
    assert [one["shares"] for one in found["results"]] == ["as set", "none"]
    with_shares, without = (one["callers"][0] for one in found["results"])
    assert with_shares["key"] == "search"
    assert with_shares["queue_ms"]["95"] < without["queue_ms"]["50"]
    for one in found["results"]:
        assert sum(c["share_of_texts"] for c in one["callers"]) == pytest.approx(1)
        assert one["providers"][0]["slots"] == 4
        assert 0.5 < one["providers"][0]["slots_used"] <= 1


def test_keys_shares_and_limits_of_the_settings_are_used(overlay, simulated):
    overlay(
        "KEYS = {'k': {'sha256': '0' * 64, 'service_tier': 'flex', 'requests_per_minute': 5}}\n"
        "PROVIDERS = {'local': {'kind': 'local', 'concurrency': 3}}\n"
    )
    output = simulated({"callers": [CALLER]}, "--seconds", 100, "--workers", 3).stdout
    line, provider = output.splitlines()[3:8:4]
    assert line.split()[:2] == ["k", "flex"]
    assert "rate_limit_exceeded" in line
    assert provider.split()[3] == "3"
    assert provider.endswith("(assumed)")


def test_the_load_is_laid_over_the_keys_of_the_settings(overlay, simulated):
    overlay("KEYS = {'k': {'sha256': '0' * 64, 'service_tier': 'flex'}}\n")
    load = {"callers": [CALLER], "keys": {"k": {"service_tier": "priority"}}}
    assert simulated(load).stdout.splitlines()[3].split()[:2] == ["k", "priority"]


@pytest.mark.parametrize(
    ("load", "lines"),
    [
        ({}, ["callers: must be set"]),
        ([], ["must be a dictionary"]),
        ({"callers": []}, ["callers: must name at least one caller"]),
        (
            {"callers": [CALLER | {"per_second": 2}]},
            ["callers[0]: must have either 'clients' or 'per_second'"],
        ),
        (
            {"callers": [CALLER | {"texts": [5, 1], "tier": "bulk", "client": 2}]},
            [
                "callers[0]['tier']: must be one of: priority, default, flex",
                "callers[0]['texts']: must be a whole number from 1, or a range as [1, 5]",
                "callers[0]['client']: unknown setting (did you mean 'clients'?)",
            ],
        ),
        (
            {"callers": [CALLER], "keys": {"l": {}}},
            [
                "callers[0]['key']: no key 'k' in KEYS or in 'keys' of the load "
                "(there are 'default', 'l')"
            ],
        ),
        (
            {
                "callers": [CALLER | {"model": "word", "tier": "priority", "texts": 9000}],
                "keys": {"k": {}},
                "providers": {"lokal": {}},
            },
            [
                "providers['lokal']: no provider 'lokal' in PROVIDERS (did you mean 'local'?)",
                "callers[0]['model']: no model 'word' in MODELS (did you mean 'wordllama'?)",
                "callers[0]['tier']: the key 'k' may not ask for 'priority'",
                "callers[0]['texts']: must be at most 8,192, by LIMITS['inputs']",
            ],
        ),
        (
            {"callers": [CALLER], "keys": {"k": {"shar": 2}}},
            ["keys['k']['shar']: unknown setting (did you mean 'share'?)"],
        ),
    ],
)
def test_each_mistake_is_a_line_that_names_the_field(load, lines, environment, simulated):
    environment("ALPHANEURAL_API_KEY", "sk-mine")
    result = simulated(load)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == lines


def test_a_file_that_is_no_json_is_named_with_the_place(environment, simulated):
    result = simulated('{"callers": [\n}')
    assert result.exit_code == 1
    assert result.stderr.startswith("/")
    assert "load.json: " in result.stderr
    assert "line 2" in result.stderr


def test_a_mistake_in_the_settings_is_named(overlay, simulated):
    overlay.path.write_text("LIMITS = {'waiting': 0}\n")
    result = simulated({"callers": [CALLER], "keys": {"k": {}}})
    assert result.exit_code == 1
    assert result.stderr.startswith("LIMITS['waiting']: ")


def test_a_seed_gives_the_same_figures_in_every_process():
    program = "from app.cli.program import main; main()"
    command = [sys.executable, "-c", program, "simulate", EXAMPLE, "--json", "--seconds", "5"]
    clean = {name: value for name, value in os.environ.items() if name != "PROXY_SETTINGS"}
    outputs = [
        subprocess.run(
            command,
            cwd=ROOT,
            env=clean | {"PYTHONHASHSEED": seed},
            capture_output=True,
            timeout=100,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1] != b""
