"""Where temporary files of tests are."""

import tempfile

import pytest

from tests.support import scratch


@pytest.fixture(autouse=True)
def _temporary_directory_stays(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", tempfile.tempdir)


def test_temporary_files_are_in_memory_where_that_has_room(monkeypatch, tmp_path):
    monkeypatch.setattr(scratch, "MIN_FREE_BYTES", 1)
    environment = {}
    scratch.use_memory(environment, tmp_path)
    assert environment == {"TMPDIR": str(tmp_path)}


@pytest.mark.parametrize("lacks", ["place", "room", "memory"])
def test_temporary_files_stay_where_memory_does_not_suit(monkeypatch, tmp_path, lacks):
    monkeypatch.setattr(scratch, "MIN_FREE_BYTES", 2**60 if lacks == "room" else 1)
    if lacks == "memory":
        monkeypatch.setattr(scratch, "available_bytes", lambda: 1)
    environment = {}
    scratch.use_memory(environment, tmp_path / "none" if lacks == "place" else tmp_path)
    assert environment == {}


def test_directory_that_was_chosen_is_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(scratch, "MIN_FREE_BYTES", 1)
    environment = {"TMPDIR": "/elsewhere"}
    scratch.use_memory(environment, tmp_path)
    assert environment == {"TMPDIR": "/elsewhere"}
