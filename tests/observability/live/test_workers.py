"""One worker asks all: over real sockets, some of which are silent, closed or of ended workers."""

import os
import socket
import struct
import subprocess
import sys
import threading
import time
from subprocess import PIPE

import orjson
import pytest

from app.observability.live.workers import ANSWER_TIMEOUT_S, Workers
from tests.support.server import ROOT, eventually


def echo(question):
    return {"asked": question["ask"], "pid": os.getpid()}


PROCESS = """
import os, sys
from pathlib import Path
from app.observability.live.workers import Workers
workers = Workers(Path(sys.argv[1]), lambda q: {"asked": q["ask"], "pid": os.getpid()})
workers.start()
print(flush=True)
sys.stdin.read()
workers.stop()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that answers."""
    command = [sys.executable, "-c", PROCESS, str(tmp_path)]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, cwd=ROOT) as process:
        assert process.stdout.readline()
        yield process
        process.stdin.close()
        process.wait(60)


@pytest.fixture
def listen(tmp_path):
    """Listens as a worker of a made-up pid, and handles one connection."""
    opened = []

    def _listen(pid, handle):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / f"live-{pid}.sock"))
        listener.listen()
        opened.append(listener)

        def serve():
            connection, _ = listener.accept()
            opened.append(connection)
            handle(connection)

        threading.Thread(target=serve, daemon=True).start()

    yield _listen
    for made in opened:
        made.close()


def test_all_workers_answer(tmp_path, other):
    workers = Workers(tmp_path, echo)
    answers = workers.ask({"ask": "x"}, 60)
    assert answers.by_worker == {
        os.getpid(): {"asked": "x", "pid": os.getpid()},
        other.pid: {"asked": "x", "pid": other.pid},
    }
    assert answers.silent == []


def test_worker_that_was_killed_is_not_waited_for(tmp_path, other):
    other.kill()
    other.wait(60)
    assert (tmp_path / f"live-{other.pid}.sock").exists()
    answers = Workers(tmp_path, echo).ask({"ask": "x"}, 60)
    assert list(answers.by_worker) == [os.getpid()]
    assert answers.silent == []


@pytest.mark.parametrize(
    "handle",
    [
        lambda connection: None,
        lambda connection: connection.shutdown(socket.SHUT_RDWR),
        lambda connection: connection.sendall(struct.pack("!I", 2**31)),
        lambda connection: connection.sendall(struct.pack("!I", 10) + b"{"),
        lambda connection: connection.sendall(struct.pack("!I", 3) + b"{,}"),
    ],
    ids=["silent", "closes", "too long", "cut", "no JSON"],
)
def test_worker_without_a_good_answer_is_left_out(tmp_path, listen, handle):
    listen(1, handle)
    began = time.monotonic()
    answers = Workers(tmp_path, echo).ask({"ask": "x"})
    assert time.monotonic() - began < ANSWER_TIMEOUT_S + 20
    assert list(answers.by_worker) == [os.getpid()]
    assert answers.silent == [1]


def test_silent_worker_takes_no_answer_from_others(tmp_path, listen):
    listen(1, lambda connection: None)
    answer = orjson.dumps({"n": 1})
    listen(2, lambda connection: connection.sendall(struct.pack("!I", len(answer)) + answer))
    answers = Workers(tmp_path, echo).ask({"ask": "x"}, 4)
    assert answers.by_worker[2] == {"n": 1}
    assert answers.silent == [1]


def test_bad_questions_do_not_end_the_answers(tmp_path):
    workers = Workers(tmp_path, echo)
    workers.start()
    path = tmp_path / f"live-{os.getpid()}.sock"
    try:
        for text in (
            b"",
            b"\xff" * 100,
            struct.pack("!I", 2) + b"{}",
            struct.pack("!I", 2) + b"nu",
        ):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(text)
        (path.parent / "live-1.sock").symlink_to(path)  # as another worker
        answers = eventually(
            lambda: (a := workers.ask({"ask": "x"}, 60)).by_worker.get(1) and a, what="an answer"
        )
        assert answers.silent == []
    finally:
        workers.stop()
    assert not path.exists()


def test_worker_whose_path_is_too_long_answers_for_itself(tmp_path, caplog):
    directory = tmp_path / ("x" * 120)
    directory.mkdir()
    workers = Workers(directory, echo)
    workers.start()
    assert list(workers.ask({"ask": "x"}).by_worker) == [os.getpid()]
    assert "will not see" in caplog.text
    workers.stop()


def test_process_alone_answers_for_itself():
    workers = Workers(None, echo)
    workers.start()
    assert list(workers.ask({"ask": "x"}).by_worker) == [os.getpid()]
    workers.stop()
