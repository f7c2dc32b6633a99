"""Each log record is one line in both formats."""

import io
import json
import logging
import os
import re
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.config import LogSettings
from app.observability.logs import (
    MAX_LINE_BYTES,
    HumanFormatter,
    JsonFormatter,
    configure,
    log_request,
)
from tests.support.server import ROOT

FIELDS = {
    "request_id": "req_1",
    "method": "POST",
    "path": "/v1/embeddings",
    "status": 200,
    "key": "team",
    "user": None,
    "model": "m",
    "provider": "",
    "tokens": 0,
    "total_ms": 12.3,
}


@pytest.fixture
def written(monkeypatch):
    """Configure the log and return what was written to it."""
    stream = io.StringIO()
    logger = logging.getLogger("app")
    before = logger.handlers, logger.level, logger.propagate

    def start(format_="json", level="INFO"):
        monkeypatch.setattr(sys, "stdout", stream)
        configure(LogSettings(format_, level))
        return stream

    yield start
    logger.handlers, logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def record(fields=None, message="hello %s", arguments=("you",), exc_info=None):
    made = logging.LogRecord("app.part", logging.INFO, "", 0, message, arguments, exc_info)
    made.created = 1_700_000_000.9876
    if fields is not None:
        made.fields = fields
    return made


def failed():
    try:
        raise ValueError("why")
    except ValueError:
        return sys.exc_info()


def test_a_request_line_in_json(written):
    stream = written()
    log_request(FIELDS)
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found == {"level": "info", **FIELDS}


def test_a_request_line_in_human_format(written):
    stream = written("human")
    log_request(FIELDS)
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d POST /v1/embeddings 200 12.3 ms "
        r"request_id=req_1 key=team model=m tokens=0\n",
        stream.getvalue(),
    )


def test_time_is_utc_with_milliseconds_cut_not_rounded():
    line = json.loads(JsonFormatter().format(record()))
    assert line == {
        "time": "2023-11-14T22:13:20.987Z",
        "level": "info",
        "logger": "app.part",
        "message": "hello you",
    }


def test_other_records_in_human_format():
    assert re.fullmatch(r"\d\d:\d\d:\d\d info hello you", HumanFormatter().format(record()))


def test_a_traceback_is_inside_the_json_line():
    text = JsonFormatter().format(record(exc_info=failed()))
    assert "\n" not in text
    assert json.loads(text)["exception"].endswith("ValueError: why")


def test_a_traceback_follows_the_line_in_human_format():
    text = HumanFormatter().format(record(exc_info=failed()))
    assert text.splitlines()[0].endswith("info hello you")
    assert text.endswith("ValueError: why")


class Odd:
    """A value without JSON form."""

    def __str__(self):
        return "odd"


def test_values_without_json_form_are_written_as_text():
    assert json.loads(JsonFormatter().format(record({"value": Odd()})))["value"] == "odd"


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(names, names)
def test_json_is_one_line_for_any_request(user, path):
    text = JsonFormatter().format(record({**FIELDS, "user": user, "path": path}))
    assert not re.search("[\r\n\x00-\x1f]", text)
    assert json.loads(text)["user"] == user


@given(names, names)
def test_human_format_is_one_line_for_any_request(user, path):
    """Otherwise a line break in a path or a name would add lines to the log."""
    text = HumanFormatter().format(record({**FIELDS, "user": user, "path": path}))
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", text)  # nor colours


@pytest.mark.parametrize(
    ("status", "path", "level"),
    [
        (200, "/v1/embeddings", "info"),
        (404, "/v1/embeddings", "info"),
        (499, "/v1/embeddings", "info"),
        (500, "/v1/embeddings", "error"),
        (504, "/v1/embeddings", "error"),
        (200, "/health/live", "debug"),
        (200, "/health/ready", "debug"),
        (503, "/health/ready", "error"),
        (200, "/healthy", "info"),
    ],
)
def test_the_level_of_a_request_line(written, status, path, level):
    stream = written(level="DEBUG")
    log_request({**FIELDS, "status": status, "path": path})
    assert json.loads(stream.getvalue())["level"] == level


@pytest.mark.parametrize(
    ("level", "lines"), [("DEBUG", 3), ("INFO", 2), ("WARNING", 1), ("ERROR", 1)]
)
def test_lines_below_the_level_are_not_written(written, level, lines):
    stream = written(level=level)
    log_request({**FIELDS, "path": "/health/live"})
    log_request(FIELDS)
    log_request({**FIELDS, "status": 502})
    assert len(stream.getvalue().splitlines()) == lines


def test_all_loggers_of_the_app_write_once(written):
    written()
    stream = written()
    logging.getLogger("app.dispatch").error("part")
    assert json.loads(stream.getvalue())["logger"] == "app.dispatch"


def test_a_line_is_not_written_a_second_time_by_the_root_logger(written, caplog):
    written()
    logging.getLogger("app.dispatch").error("part")
    assert not caplog.records


def test_other_loggers_are_unchanged(written):
    stream = written()
    logging.getLogger("another.library").error("its line")
    assert stream.getvalue() == ""


# Lines in a shared pipe


ANYTHING = st.text(st.characters(), max_size=50)
VALUES = (
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.integers()
    | st.builds(str.__mul__, ANYTHING, st.integers(1, 1000))
)


@given(
    fields=st.dictionaries(st.sampled_from([*FIELDS, "error", "client", "error_code"]), VALUES),
    message=ANYTHING,
    times=st.integers(1, 1000),
    failed=st.booleans(),
)
@example(fields={}, message="\ud800", times=1, failed=True)
@example(fields={}, message="00\x1f\r\r\x80\x80\U00010000\U00010000", times=167, failed=True)
def test_lines_are_at_most_the_size_of_an_atomic_write(fields, message, times, failed):
    exc_info = None
    if failed:
        try:
            raise ValueError(message * times)
        except ValueError:
            exc_info = sys.exc_info()
    for made in (
        record({**FIELDS, **fields}, exc_info=exc_info),
        record(None, "%s", (message * times,), exc_info),
    ):
        text = JsonFormatter().format(made)
        assert len(text.encode()) < MAX_LINE_BYTES
        assert "exception" in json.loads(text) or not failed
        made.exc_info = None
        human = HumanFormatter().format(made)
        assert len(human.encode()) < MAX_LINE_BYTES


def test_a_long_value_is_cut_with_an_ellipsis():
    line = json.loads(JsonFormatter().format(record({**FIELDS, "path": "/" + "a" * 8000})))
    assert line["path"] == "/" + "a" * 298 + "…"
    assert line["model"] == "m"


def test_end_of_a_long_traceback_is_kept():
    def deeper(levels):
        return deeper(levels - 1) if levels else 1 / 0

    try:
        deeper(100)
    except ZeroDivisionError:
        text = JsonFormatter().format(record(exc_info=sys.exc_info()))
    assert json.loads(text)["exception"].endswith("ZeroDivisionError: division by zero")


WRITER = """
import sys, threading
from app.config import LogSettings
from app.observability.logs import configure, log_request

configure(LogSettings("json", "INFO"))
def write():
    for number in range(100):
        log_request({"status": 404, "path": "/" + "p" * 8000, "number": number, "who": sys.argv[1]})
threads = [threading.Thread(target=write) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_lines_of_processes_and_threads_in_a_pipe_do_not_mix():
    reading, writing = os.pipe()
    started = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(who)], cwd=ROOT, stdout=writing)
        for who in range(3)
    ]
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        lines = [json.loads(line) for line in stream]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert len(lines) == 900


def test_handler_has_the_lock_that_logging_takes_at_exit(written):
    """From Python 3.13 on by ``with``: without it the worker ended at its start."""
    written()
    (handler,) = logging.getLogger("app").handlers
    with handler.lock:
        handler.flush()
    handler.acquire()
    handler.release()
