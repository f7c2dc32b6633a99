"""References in a file and in a database keep one contract."""

import json
import os
import stat

import pytest

from app.database.audit import events
from app.database.engine import Database
from app.database.migrations import migrate
from app.dispatch.drift.database import DatabaseReferences
from app.dispatch.drift.file import FileReferences
from app.dispatch.drift.reference import Reference, ReferencesUnavailable
from tests.dispatch.drift.fake import reference


@pytest.fixture(params=["file", "sqlite", "postgresql"])
def references(request, tmp_path):
    if request.param == "file":
        yield FileReferences(tmp_path / "references.json")
        return
    url = f"sqlite:///{tmp_path}/usage.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").url()
    database = Database(url)
    migrate(database.engine)
    yield DatabaseReferences(database)
    database.close()


def test_there_are_none_at_first(references):
    assert references.load() == {}
    assert references.version() == references.version()


def test_saved_references_are_loaded(references):
    both = [reference("s"), reference("t / é 東", salt="t")]
    references.save(both)
    assert references.load() == {r.space: r for r in both}


def test_saving_replaces_a_space_and_keeps_others(references):
    references.save([reference("s"), reference("t")])
    before = references.version()
    new = reference("s", salt="new", recorded_at=2)
    references.save([new])
    assert references.load() == {"s": new, "t": reference("t")}
    assert references.version() != before


@pytest.mark.parametrize("recorded_at", [1500, 1900, 3000])
def test_version_changes_with_every_record_whatever_the_clock(references, recorded_at):
    references.save([reference("s", recorded_at=2000), reference("t", recorded_at=1500)])
    before = references.version()
    assert references.version() == before
    references.save([reference("t", salt="new", recorded_at=recorded_at)])
    assert references.version() != before


def test_reference_of_other_texts_is_kept_and_not_current(references):
    old = Reference("s", b"of another length", 1, "a/x", "other")
    references.save([old])
    assert references.load() == {"s": old}
    assert not old.is_current


def test_damaged_reference_is_left_out_and_logged(references, caplog):
    references.save([Reference("s", b"odd", 1, "a/x"), reference("t")])
    assert list(references.load()) == ["t"]
    assert "record it anew" in caplog.text


# The file


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 2, "references": {}}', '{"format": 1, "references": []}']
)
def test_file_that_is_none_is_unavailable(tmp_path, text):
    path = tmp_path / "references.json"
    path.write_text(text)
    with pytest.raises(ReferencesUnavailable, match=r"references\.json"):
        FileReferences(path).load()
    with pytest.raises(ReferencesUnavailable):
        FileReferences(path).save([reference()])
    assert path.read_text() == text


def test_file_is_replaced_whole_and_readable_for_the_server(tmp_path):
    path = tmp_path / "references.json"
    kept = FileReferences(path)
    kept.save([reference()])
    first = path.stat().st_ino
    kept.save([reference("t")])
    assert path.stat().st_ino != first
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["references.json"]
    assert json.loads(path.read_text())["format"] == 1


def test_missing_directory_is_named(tmp_path):
    kept = FileReferences(tmp_path / "missing" / "references.json")
    assert kept.load() == {}
    with pytest.raises(ReferencesUnavailable, match=r"missing/references\.json: No such file"):
        kept.save([reference()])


# The database


def test_record_is_in_the_audit_log(database):
    DatabaseReferences(database).save([reference()])
    (event,) = database.run(lambda connection: events(connection, 0, 2**62))
    assert (event["action"], event["subject"]) == ("reference.record", "s")
    assert event["actor"].startswith("os:")
    assert event["detail"]["recorded_from"] == "a/x"


def test_database_without_the_table_says_what_to_do(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/empty.db")
    with pytest.raises(ReferencesUnavailable, match="usage migrate"):
        DatabaseReferences(database).load()
    database.close()
