"""Log lines are bounded, so that those of several processes do not mix in a pipe."""

import json
import os
import subprocess
import sys

from hypothesis import example, given
from hypothesis import strategies as st

from app.observability.logs import (
    MAX_LINE_BYTES,
    HumanFormatter,
    JsonFormatter,
)
from tests.observability.test_logs import FIELDS, record, request_record
from tests.support.server import ROOT

ANYTHING = st.text(st.characters(), max_size=50)
VALUES = (
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.integers()
    | st.builds(str.__mul__, ANYTHING, st.integers(1, 1000))
)


@given(
    fields=st.dictionaries(st.sampled_from([*FIELDS, "error", "user", "error_code"]), VALUES),
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
    made = record("%s", (message * times,), exc_info)
    text = JsonFormatter().format(made)
    assert len(text.encode()) < MAX_LINE_BYTES
    assert "exception" in json.loads(text) or not failed
    made.exc_info = None
    assert len(HumanFormatter().format(made).encode()) < MAX_LINE_BYTES
    of_request = request_record(**fields)
    line = JsonFormatter().request_line(of_request)
    assert len(line) < MAX_LINE_BYTES
    assert set(json.loads(line)) >= {"time", "level"}
    assert len(HumanFormatter().request_line(of_request)) < MAX_LINE_BYTES


def test_a_long_value_is_cut_with_an_ellipsis():
    line = json.loads(JsonFormatter().request_line(request_record(path="/" + "a" * 8000)))
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
from tests.observability.test_logs import EXCHANGE, request_record

configure(LogSettings("json", "INFO"))
def write():
    for number in range(100):
        record = request_record(path="/" + "p" * 8000, items=number, user=sys.argv[1])
        log_request(EXCHANGE, record)
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
