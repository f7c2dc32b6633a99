"""What gunicorn's master imports, and its log."""

import json
import subprocess
import sys

import pytest
from gunicorn.config import Config
from gunicorn.http import errors

from app import server as serving


@pytest.mark.parametrize(
    ("worker", "absent"),
    [
        ("GeventWorker", {"flask", "requests", "urllib3", "numpy", "marshmallow", "app.config"}),
        ("ThreadWorker", {"gevent", "flask", "requests", "urllib3", "numpy", "marshmallow"}),
    ],
)
def test_gunicorns_master_loads_only_what_the_worker_class_needs(worker: str, absent: set[str]):
    code = f"import sys; from app.server import {worker}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not absent & set(loaded)


def test_there_are_exactly_two_worker_classes():
    assert serving.ThreadWorker is serving.ThreadWorker
    with pytest.raises(AttributeError, match="SyncWorker"):
        _ = serving.SyncWorker


def test_gunicorns_log_is_json(capsys: pytest.CaptureFixture[str]):
    config = Config()
    config.set("accesslog", None)
    log = serving.JsonLogger(config)
    try:
        raise errors.InvalidHeader("x")
    except errors.InvalidHeader:
        log.exception("it is %s", '"quoted"')
    line = json.loads(capsys.readouterr().err)
    assert line["level"] == "error"
    assert line["message"] == 'it is "quoted"'
    assert "InvalidHeader" in line["exception"]
    assert not log.access_log_enabled
