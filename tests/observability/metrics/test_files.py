"""Numbers of many processes in files: of running, ended and restarted ones."""

import os
import subprocess
import sys

from app.observability.metrics import catalog, directory
from app.observability.metrics import files as files_module
from app.observability.metrics.files import Files
from tests.observability.metrics.samples import values
from tests.support.server import ROOT

CHILD = """
import sys
from pathlib import Path
from app.observability.metrics import catalog
from app.observability.metrics.files import Files
files = Files(Path(sys.argv[1]))
files.number(catalog.ITEMS, "m").add(int(sys.argv[2]))
files.distribution(catalog.QUEUE, "p", "flex").observe(0.3)
files.number(catalog.IN_FLIGHT).add(1)
import os
print(os.getpid(), flush=True)
os.kill(os.getpid(), 9)
"""


def die_counting(place, number):
    """Return the pid of a killed process that counted items, a wait and a request."""
    command = [sys.executable, "-c", CHILD, str(place), str(number)]
    return int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout)


def test_counters_of_ended_processes_are_kept_and_gauges_are_not(files, tmp_path, monkeypatch):
    monkeypatch.setenv(directory.VARIABLE, str(tmp_path))
    files.number(catalog.ITEMS, "m").add(1)
    pids = [die_counting(tmp_path, number) for number in (10, 100)]
    before = values(files)
    assert before["in_flight"] == 2
    for pid in pids:
        directory.remove_worker_files(pid)
    for _ in range(2):  # the first also adds up files of ended processes
        after = values(files)
        assert after["items_total{model=m}"] == before["items_total{model=m}"] == 111
        assert after["queue_seconds_count{provider=p,service_tier=flex}"] == 2
        assert after["queue_seconds_sum{provider=p,service_tier=flex}"] == 0.6
        assert after["queue_seconds_bucket{le=0.25,provider=p,service_tier=flex}"] == 0
        assert after["queue_seconds_bucket{le=0.5,provider=p,service_tier=flex}"] == 2
        assert "in_flight" not in after
    pid = die_counting(tmp_path, 1000)
    directory.remove_worker_files(pid)
    assert values(files)["items_total{model=m}"] == 1111
    empty = tmp_path / f"counter_{pid}-2.db"  # of a process that was killed when it opened the file
    empty.touch()
    assert values(files)["items_total{model=m}"] == 1111
    kept = sorted(path.name.partition("-")[0] for path in tmp_path.glob("*.db"))
    assert kept == [f"counter_{os.getpid()}", "counter_dead.db", "histogram_dead.db"]


def test_worker_files_may_be_removed_during_a_scrape(files, tmp_path, monkeypatch):
    monkeypatch.setenv(directory.VARIABLE, str(tmp_path))
    merge = files_module.MultiProcessCollector.merge
    pids = [die_counting(tmp_path, number) for number in (10, 100)]
    monkeypatch.setattr(files_module, "_is_dead", lambda path: False)  # not seen yet

    def while_buried(sources, accumulate=True):
        for pid in pids:
            directory.remove_worker_files(pid)
        return merge(sources, accumulate)

    monkeypatch.setattr(files_module.MultiProcessCollector, "merge", while_buried)
    assert values(files)["items_total{model=m}"] == 110


def test_worker_files_may_be_removed_while_they_are_listed(files, tmp_path, monkeypatch):
    monkeypatch.setenv(directory.VARIABLE, str(tmp_path))
    pid = die_counting(tmp_path, 10)
    glob = files_module.Path.glob

    def then_buried(path, pattern):
        found = list(glob(path, pattern))
        with monkeypatch.context() as own:
            own.setattr(files_module.Path, "glob", glob)
            directory.remove_worker_files(pid)
        return found

    monkeypatch.setattr(files_module.Path, "glob", then_buried)
    found = values(files)
    assert found["items_total{model=m}"] == 10
    assert "in_flight" not in found


def test_reused_pid_keeps_earlier_counts(tmp_path):
    first = Files(tmp_path)
    first.number(catalog.ITEMS, "m").add(5)
    first.number(catalog.IN_FLIGHT).add(1)
    again = Files(tmp_path)  # the end of the process is not noticed yet
    again.number(catalog.ITEMS, "m").add(1)
    again.number(catalog.IN_FLIGHT).add(1)
    found = values(again)
    assert (found["items_total{model=m}"], found["in_flight"]) == (6, 1)


def test_values_are_kept_when_their_file_grows(files):
    first = files.number(catalog.ITEMS, "model 0")
    for i in range(1, 2000):
        files.number(catalog.ITEMS, f"model {i}").add(i)
    first.add(7)
    found = values(files)
    assert found["items_total{model=model 0}"] == 7
    assert found["items_total{model=model 1999}"] == 1999


def test_full_disk_loses_only_metrics(files, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files_module.os, "posix_fallocate", full)
    files.number(catalog.ITEMS, "m").add(1)
    files.number(catalog.IN_FLIGHT).set(1)
    assert "items_total{model=m}" not in values(files)
    assert "No space left" in caplog.text


def test_process_without_server_has_its_own_values():
    files = Files()
    place = files.directory
    files.number(catalog.ITEMS, "m").add(1)
    assert values(files)["items_total{model=m}"] == 1
    del files
    assert not place.exists()


def test_directory_of_a_server_is_created_and_removed(tmp_path, monkeypatch):
    monkeypatch.setenv(directory.VARIABLE, "/that/of/another")
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True
    )
    stale = tmp_path / f"embeddings-proxy-metrics-{int(gone.stdout)}-x"
    running = tmp_path / f"embeddings-proxy-metrics-{os.getpid()}-x"
    stale.mkdir()
    running.mkdir()
    made = directory.prepare(str(tmp_path))
    assert os.environ[directory.VARIABLE] == str(made)
    assert sorted(tmp_path.iterdir()) == sorted([made, running])
    directory.remove()
    assert not made.exists()
    assert directory.prepare(str(tmp_path / "missing")) is None
    assert directory.VARIABLE not in os.environ
    directory.remove()
    directory.remove_worker_files(1)
