"""Starts, reloads and stops of the server lose no request, with either worker class."""

import errno
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import WORKER_CLASSES
from tests.e2e.plain import LINE, Load, Plain, connect, read_all, read_answer
from tests.support.server import eventually


@pytest.fixture(scope="module", params=WORKER_CLASSES)
def worker_class(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def start(worker_class: str, tmp_path: Path) -> Iterator[Callable[..., Plain]]:
    """Starts servers for one test."""
    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(
            Plain(tmp_path, worker_class, *arguments, **options)
        )


IDLE_S = 2  # for which an idle connection stays open when the server stops


def children(server: Plain) -> set[int]:
    return set(server.workers())


def test_sigterm_under_load_loses_no_request(start: Callable[..., Plain]):
    server = start(workers=2)
    with Load(server.port) as load:
        eventually(lambda: load.answered > 100, 60)
        server.process.terminate()
        assert server.process.wait(60) == 0
        eventually(lambda: load.refused > 8)
    assert load.lost == []


def test_hup_under_load_loses_no_request(start: Callable[..., Plain]):
    server = start(workers=2)
    with Load(server.port) as load:
        for _ in range(2):
            old = eventually(lambda: len(children(server)) == 2 and children(server), 60)
            answered = load.answered
            eventually(lambda answered=answered: load.answered > answered + 100, 60)
            server.process.send_signal(signal.SIGHUP)
            eventually(lambda old=old: not children(server) & old, 60, "the old workers are gone")
        answered = load.answered
        eventually(lambda: load.answered > answered + 100, 60)
    assert load.lost == []
    assert load.refused == 0


def test_stop_waits_for_requests_and_not_for_idle_connections(start: Callable[..., Plain]):
    server = start()
    with ExitStack() as stack:
        silent, idle, late, begun, working = (
            stack.enter_context(connect(server)) for _ in range(5)
        )
        for connection in (idle, late):
            connection.sendall(LINE + b"\r\n")
            assert b"Connection: keep-alive" in read_answer(connection)
        begun.sendall(LINE)
        working.sendall(b"POST /sleep/8 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        time.sleep(0.5)
        stopped = time.monotonic()
        server.process.terminate()
        eventually(lambda: refuses(server.port), what="it accepts no more connections")
        late.sendall(LINE + b"\r\n")  # the client could not know of the stop
        if time.monotonic() - stopped < IDLE_S:  # else it may have been closed before
            answer = read_all(late)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"Connection: close" in answer
        for connection in (idle, silent):
            assert read_all(connection) == b""
        assert time.monotonic() - stopped >= IDLE_S
        assert not select.select([working], [], [], 0)[0]  # which is still at work
        begun.sendall(b"\r\n")
        assert read_all(begun).startswith(b"HTTP/1.1 200 ")
        answer = read_all(working)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"Connection: close" in answer
        server.process.wait(20)
    assert "Traceback" not in server.stderr()


def refuses(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def test_server_stops_at_once_during_its_start(start: Callable[..., Plain]):
    server = start(workers=2)  # the second is still booting
    server.process.terminate()
    server.process.wait(20)  # else it would wait for `graceful_timeout`


def run(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a server that is expected not to start; return its result."""
    plain = Plain(tmp_path, "gevent", **environment)
    return subprocess.run(
        plain._command,
        cwd=Path(__file__).parents[2],
        env=plain._environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_wrong_settings_stop_the_start_with_one_line_for_each(tmp_path: Path):
    settings = tmp_path / "settings.py"
    settings.write_text(WRONG)
    result = run(tmp_path, PROXY_SETTINGS=str(settings))
    assert result.returncode == 1
    assert "opnai" in result.stderr
    lines = [line for line in result.stderr.splitlines() if "Starting gunicorn" not in line]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("MODELS['x']['deployments'][0]['provider']")


WRONG = """
PROVIDERS = {"openai": {"kind": "openai", "base_url": "http://127.0.0.1:9", "api_key": "sk"}}
MODELS = {"x": {"dimensions": 8, "deployments": [{"provider": "opnai", "model": "x"}]}}
"""


def test_wrong_settings_do_not_replace_good_ones(start: Callable[..., Plain], tmp_path: Path):
    settings = tmp_path / "settings.py"
    settings.write_text("")
    server = start(PROXY_SETTINGS=str(settings))
    old = children(server)
    settings.write_text(WRONG)
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: "opnai" in server.stderr(), 60)
    assert server.client(None).get("/").status == 200
    assert children(server) == old
    settings.write_text("")
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: children(server) and not children(server) & old, 60)
    assert server.client(None).get("/").status == 200
    assert "Traceback" not in server.stderr()
