"""`check` compares deployments with each other, and with what `check --record` has kept."""

import json
import os
import sqlite3

import pytest

from app.database.engine import Database
from app.database.migrations import migrate
from app.dispatch.drift.file import FileReferences
from app.dispatch.drift.texts import NAMES, TEXTS
from app.errors import ProviderUnavailable, Rejected
from tests.cli.checks.test_deployments import WIDTH, Space, findings

SAME = "these do not serve the same vector space"


def errors(result):
    return [finding["errors"] for finding in findings(result)]


@pytest.fixture
def file(tmp_path):
    return FileReferences(tmp_path / "space-references.json")


@pytest.fixture
def usage(tmp_path):
    """Settings with a ledger, whose tables are there."""
    url = f"sqlite:///{tmp_path}/usage.db"
    database = Database(url)
    migrate(database.engine)
    database.close()
    return {"USAGE": {"url": url}}


# With each other


def test_no_deployment_is_taken_for_the_truth(check):
    result = check("--json", a=Space(1), b=Space(2), c=Space(2))
    assert result.exit_code == 1
    first, second, third = errors(result)
    assert [SAME in text for text in first] == [True, True]
    assert all("it and a/x" in texts[0] for texts in (second, third))
    assert (len(second), len(third)) == (1, 1)
    assert "take one out of MODELS['m']" in second[0]


def test_one_deployment_has_nothing_to_be_compared_with(check):
    (finding,) = findings(check("--json", a=Space()))
    assert finding["cosine"] is None
    assert finding["reference"] is None


@pytest.mark.parametrize(("min_cosine", "code"), [(0.99, 0), (0.9999, 1)])
def test_min_cosine_is_the_settings(check, min_cosine, code):
    others = {"CHECK": {"min_cosine": min_cosine}}
    result = check(others=others, a=Space(), b=Space(noise=0.05))
    assert result.exit_code == code, result.output


# Recording


def test_recorded_reference_is_compared_with(check, file):
    recorded = check("--record", a=Space(), b=Space(noise=0.001))
    assert recorded.exit_code == 0, recorded.output
    assert f"recorded {len(NAMES)} vectors of a/x, {WIDTH} wide, in {file.describe()}" in (
        recorded.output
    )
    result = check("--json", a=Space(), b=Space(noise=0.001))
    assert result.exit_code == 0
    first, second = findings(result)
    assert first["reference"] == first["reference_median"] == 1
    assert 0.999 < second["reference"] <= 1


def test_drift_is_named_with_its_text_and_ends_with_1(check):
    assert check("--record", a=Space(), b=Space()).exit_code == 0
    result = check("--json", a=Space(2), b=Space())
    assert result.exit_code == 1
    drifted, well = findings(result)
    (text,) = [text for text in drifted["errors"] if "has drifted" in text]
    assert drifted["reference_text"] in NAMES
    assert repr(drifted["reference_text"]) in text
    assert str(drifted["reference"]) in text
    assert well["reference"] == 1
    assert not any("has drifted" in text for text in well["errors"])
    assert "has drifted" in check(a=Space(2), b=Space()).output


def test_all_deployments_that_drift_alike_are_noticed(check):
    assert check("--record", a=Space(), b=Space()).exit_code == 0
    result = check("--json", a=Space(2), b=Space(2))
    assert result.exit_code == 1
    assert all("has drifted" in texts[0] for texts in errors(result))


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (Space(2), SAME),
        (Space(fail=ProviderUnavailable("failed with 503")), "it failed with 503"),
    ],
)
def test_nothing_is_recorded_where_deployments_disagree_or_fail(check, file, other, text):
    result = check("--record", a=Space(), b=other)
    assert result.exit_code == 1
    assert "Nothing is recorded" in result.output
    assert text in result.output
    assert "b/x" in result.output
    assert file.load() == {}


def test_text_that_is_refused_is_named(check, file):
    class Short(Space):
        def embed(self, call, deadline):
            if TEXTS["long"] in call.items:
                raise Rejected("the text is too long")
            return super().embed(call, deadline)

    result = check("--record", a=Short())
    assert result.exit_code == 1
    assert "it refuses the probe text 'long': the text is too long" in result.output
    assert "Nothing is recorded" in result.output
    assert file.load() == {}


def test_recording_again_replaces_the_reference(check, file):
    check("--record", a=Space())
    (before,) = file.load().values()
    check("--record", a=Space(2))
    (after,) = file.load().values()
    assert before.id != after.id
    assert check(a=Space(2)).exit_code == 0


def test_reference_is_in_the_database_where_there_is_one(check, file, usage):
    assert check("--record", others=usage, a=Space()).exit_code == 0
    assert file.load() == {}
    assert check(others=usage, a=Space()).exit_code == 0
    assert check(others=usage, a=Space(2)).exit_code == 1


def test_path_of_the_file_is_a_setting(check, tmp_path):
    (tmp_path / "there").mkdir()
    others = {"CHECK": {"reference": "there/mine.json"}}
    assert check("--record", others=others, a=Space()).exit_code == 0
    assert len(FileReferences(tmp_path / "there" / "mine.json").load()) == 1


def test_only_the_models_that_are_named_are_asked(check, file):
    result = check("--record", "--model", "m", a=Space())
    assert result.exit_code == 0
    result = check("--model", "n", a=Space())
    assert result.exit_code == 1
    assert "--model: no model 'n' in MODELS (there are 'm')" in result.output


def test_nothing_is_recorded_where_the_check_is_off(check):
    result = check("--record", others={"CHECK": None}, a=Space())
    assert result.exit_code == 1
    assert "CHECK is None" in result.output


@pytest.mark.parametrize("option", [["--json"], ["--all"], ["--compare", "m", "m"]])
def test_recording_is_all_that_a_command_does(check, file, option):
    result = check("--record", *option, a=Space())
    assert result.exit_code == 1
    assert "--record only records" in result.output
    assert file.load() == {}


# What cannot be read


def test_missing_database_is_no_reference_and_is_not_made(check, tmp_path):
    others = {"USAGE": {"url": f"sqlite:///{tmp_path}/none.db"}}
    assert check(others=others, a=Space()).exit_code == 0
    result = check("--record", others=others, a=Space())
    assert result.exit_code == 1
    assert "usage migrate" in result.output
    assert not (tmp_path / "none.db").exists()


def test_tables_that_are_missing_are_named(check, tmp_path):
    sqlite3.connect(tmp_path / "empty.db").close()
    (tmp_path / "empty.db").touch()
    others = {"USAGE": {"url": f"sqlite:///{tmp_path}/empty.db"}}
    result = check("--json", others=others, a=Space())
    assert result.exit_code == 1
    assert "usage migrate" in result.stderr
    assert json.loads(result.stdout)[0]["errors"] == []


def test_file_that_is_none_is_named(check, file, tmp_path):
    (tmp_path / "space-references.json").write_text("{")
    result = check(a=Space())
    assert result.exit_code == 1
    assert f"{file.describe()}: it is not JSON" in result.output


def test_reference_of_other_texts_has_to_be_recorded_anew(check, tmp_path):
    check("--record", a=Space())
    path = tmp_path / "space-references.json"
    content = json.loads(path.read_text())
    for entry in content["references"].values():
        entry["texts"] = "other"
    path.write_text(json.dumps(content))
    result = check(a=Space())
    assert result.exit_code == 1
    assert "record it anew" in result.output
    assert check("--record", a=Space()).exit_code == 0
    assert check(a=Space()).exit_code == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_directory_that_cannot_be_written_is_named(check, file, tmp_path):
    tmp_path.chmod(0o500)
    try:
        result = check("--record", a=Space())
    finally:
        tmp_path.chmod(0o700)
    assert result.exit_code == 1
    assert "Permission denied" in result.output
