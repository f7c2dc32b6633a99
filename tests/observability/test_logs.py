"""Each log record is one line in both formats."""

import io
import json
import logging
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, structs

from app.config import LogSettings
from app.exchange import Exchange
from app.observability.logs import (
    HumanFormatter,
    JsonFormatter,
    configure,
    log_request,
)
from app.observability.request_record import RequestRecord

FIELDS = {
    "time": "2023-11-14T22:13:20.987Z",
    "level": "info",
    "request_id": "req_1",
    "trace_id": UNSET,
    "method": "POST",
    "path": "/v1/embeddings",
    "status": 200,
    "client": None,
    "key": "team",
    "model": "m",
    "provider": "",
    "tokens": 0,
    "total_ms": 12.3,
}
EXCHANGE = Exchange("req_1", "POST", "/v1/embeddings")


def request_record(**fields):
    return RequestRecord(**{**FIELDS, **fields})


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


def record(message="hello %s", arguments=("you",), exc_info=None):
    made = logging.LogRecord("app.part", logging.INFO, "", 0, message, arguments, exc_info)
    made.created = 1_700_000_000.9876
    return made


def failed():
    try:
        raise ValueError("why")
    except ValueError:
        return sys.exc_info()


def test_a_request_line_in_json(written):
    stream = written()
    record = request_record()
    log_request(EXCHANGE, record)
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert found == {n: v for n, v in structs.asdict(record).items() if v is not UNSET}


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("buffering", [0, -1])  # with PYTHONUNBUFFERED, and without
def test_lines_are_utf_8_whatever_the_encoding_of_standard_output(monkeypatch, tmp_path, buffering):
    with (tmp_path / "log").open("wb", buffering) as file:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(file, "ascii", write_through=True))
        configure(LogSettings("json", "INFO"))
        log_request(EXCHANGE, request_record(user="é"))
        logging.getLogger("app.part").warning("é")
        first, second = map(json.loads, (tmp_path / "log").read_text("utf-8").splitlines())
    assert (first["user"], second["message"]) == ("é", "é")


def test_a_request_line_in_human_format(written):
    stream = written("human")
    log_request(EXCHANGE, request_record())
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d POST /v1/embeddings 200 12.3 ms "
        r"request_id=req_1 key=team model=m tokens=0 billed_tokens=0 attempts=0\n",
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
    line = JsonFormatter().request_line(request_record(user=Odd()))
    assert json.loads(line)["user"] == "odd"


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(names, names)
def test_json_is_one_line_for_any_request(user, path):
    text = JsonFormatter().request_line(request_record(user=user, path=path)).decode()
    assert not re.search("[\r\n\x00-\x1f]", text)
    assert json.loads(text)["user"] == user


@given(names, names)
def test_human_format_is_one_line_for_any_request(user, path):
    """Otherwise a line break in a path or a name would add lines to the log."""
    text = HumanFormatter().request_line(request_record(user=user, path=path)).decode()
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", text)  # nor colours


@pytest.mark.parametrize(
    ("level", "lines"), [("DEBUG", 3), ("INFO", 2), ("WARNING", 1), ("ERROR", 1)]
)
def test_lines_below_the_level_are_not_written(written, level, lines):
    stream = written(level=level)
    for of_request in ("debug", "info", "error"):
        log_request(EXCHANGE, request_record(level=of_request))
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


def test_handler_has_the_lock_that_logging_takes_at_exit(written):
    """From Python 3.13 on by ``with``: without it the worker ended at its start."""
    written()
    (handler,) = logging.getLogger("app").handlers
    with handler.lock:
        handler.flush()
    handler.acquire()
    handler.release()
