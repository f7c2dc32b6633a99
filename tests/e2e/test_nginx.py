"""deploy/nginx.conf in the real nginx, in front of the real gunicorn."""

import json
import os
import re
import signal
import socket
import socketserver
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.nginx_front import Nginx
from tests.e2e.nginx_front import front as front
from tests.e2e.nginx_front import nginx as nginx
from tests.e2e.nginx_front import plain as plain
from tests.e2e.nginx_front import plain_nginx as plain_nginx
from tests.e2e.plain import Load, Plain, too_large_request
from tests.support.console_session import session_cookie
from tests.support.server import ROOT, eventually, free_port

MEBIBYTE = 2**20
SECRET = "sk-planted-secret"


def test_file_includes_no_other_file():
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    assert "include" not in text


# Through to the proxy


def test_embeddings_are_passed_on(nginx: Nginx):
    answer = nginx.client().embed("wordllama", ["one", "two"], encoding_format="float")
    assert [len(vector) for vector in answer.embeddings] == [256, 256]
    assert answer.headers["server"] == "nginx"


def test_errors_of_the_proxy_are_passed_on(nginx: Nginx):
    answer = nginx.client("sk-wrong").embed("wordllama", "one")
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")


def test_large_body_is_passed_on_without_disk(nginx: Nginx):
    answer = nginx.client().embed("wordllama", ["word " * 100] * 2000)
    assert len(answer.embeddings) == 2000
    assert not list((nginx.directory / "client").iterdir())  # no part of it was on disk


def test_a_body_over_the_limit_is_refused_by_the_proxy(nginx: Nginx):
    answer = nginx.client().post(b" " * (32 * MEBIBYTE + 1))
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_far_over_the_limit_is_refused_by_nginx(nginx: Nginx, framing: str):
    answer = nginx.client().raw(too_large_request(framing))
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    assert len([name for name in answer.headers if name == "x-request-id"]) == 1


def test_request_id_is_passed_on_or_generated(nginx: Nginx):
    answer = nginx.client().get("/health/live", X_Request_ID="mine-1")
    assert answer.headers["x-request-id"] == "mine-1"
    answer = nginx.client().get("/health/live", X_Request_ID="not {mine}")
    made = answer.headers["x-request-id"]
    assert re.fullmatch(r"req_[0-9a-f]{32}", made)
    eventually(lambda: {"mine-1", made} <= {line["request_id"] for line in nginx.log()})


def test_console_tells_of_a_request_by_the_id_of_its_answer(nginx: Nginx):
    cookie, browser = session_cookie(nginx.client()), nginx.client(None)
    for given in ({}, {"x_request_id": "through-nginx"}):
        answer = nginx.client().post({"model": "steady", "input": ["a", "b"]}, **given)
        request_id = answer.headers["x-request-id"]
        page = browser.get(f"/console/request?id={request_id}", Cookie=cookie)
        assert (page.status, '<rect class="good"' in page.text) == (200, True)
        found = browser.get(f"/console/api/requests/{request_id}", Cookie=cookie)
        assert [one["id"] for one in found.json["data"]] == [request_id]


# What nginx refuses

LINE = b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\n"
REFUSED = {
    "garbage": (b"\x16\x03\x01" + SECRET.encode() + b"\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two lengths": (LINE + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    "length and chunked": (
        LINE + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "unknown coding": (LINE + b"Transfer-Encoding: br\r\n\r\n", 501),
    "broken chunk": (LINE + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    "method TRACE": (b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    "line too long": (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "header too large": (LINE + b"Authorization: " + b"x" * 20_000 + b"\r\n\r\n", 431),
}


@pytest.mark.parametrize("trick", REFUSED)
def test_errors_of_nginx_are_json(nginx: Nginx, trick: str):
    data, status = REFUSED[trick]
    answer = nginx.client().raw(data)
    assert answer.status == status
    assert answer.error["type"] == "invalid_request_error"
    assert answer.headers["x-request-id"]


def test_504_of_nginx_tells_sdks_not_to_retry(tmp_path: Path):
    """As the proxy's own 504 does: its caller no longer waits."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        nginx = Nginx(tmp_path, silent.getsockname()[1])
        config = tmp_path / "nginx.conf"
        text = config.read_text()
        assert "proxy_read_timeout 3660s;" in text
        config.write_text(text.replace("proxy_read_timeout 3660s;", "proxy_read_timeout 1s;"))
        with nginx:
            answer = nginx.client().embed("steady", "x")
    assert (answer.status, answer.error["code"]) == (504, "timeout")
    assert answer.headers["x-should-retry"] == "false"


def test_error_page_cannot_be_requested(nginx: Nginx):
    answer = nginx.client().get("/nginx-error")
    assert (answer.status, answer.error["code"]) == (404, "not_found")


def test_access_log_has_no_secret(nginx: Nginx):
    nginx.client(SECRET).get(f"/health/live?key={SECRET}", api_key=SECRET)
    eventually(lambda: any(line["path"] == "/health/live" for line in nginx.log()))
    assert SECRET not in json.dumps(nginx.log())


# In front of a server with one thread


def test_slow_clients_do_not_block_a_worker(plain_nginx: Nginx):
    with ExitStack() as stack:
        for data in (LINE, LINE + b"Content-Length: 100\r\n\r\n{"):
            for _ in range(5):
                slow = stack.enter_context(
                    socket.create_connection(("127.0.0.1", plain_nginx.port))
                )
                slow.sendall(data)
        assert plain_nginx.client().post(b"{}").seconds < 10  # before nginx ends the slow ones


def test_connections_to_the_proxy_are_reused(plain_nginx: Nginx):
    ports = {plain_nginx.client().post(b"{}").json["peer"] for _ in range(20)}
    assert len(ports) < 5


class Dying(socketserver.StreamRequestHandler):
    """A server that closes kept connections without an answer and serves new ones."""

    def handle(self) -> None:
        self.server.seen.append([])  # type: ignore[attr-defined]
        while line := self.rfile.readline():
            length = 0
            while (header := self.rfile.readline().strip()) != b"":
                name, _, value = header.lower().partition(b": ")
                length = int(value) if name == b"content-length" else length
            self.rfile.read(length)
            self.server.seen[-1].append(line.split()[-1])  # type: ignore[attr-defined]
            if line.endswith(b"HTTP/1.1\r\n"):
                return
            self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}")


def test_retry_uses_a_new_connection(front: Callable[[int], Nginx]):
    """Another kept connection could be closed as well."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dying) as server:
        server.seen = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        nginx = front(server.server_address[1])
        for _ in range(3):
            assert nginx.client().post(b"{}").status == 200
        server.shutdown()
    asked = [requests for requests in server.seen if b"HTTP/1.0" in requests]  # type: ignore[attr-defined]
    assert asked == [[b"HTTP/1.0"]] * 3


def test_hup_under_load_loses_no_request(front: Callable[[int], Nginx], tmp_path: Path):
    with Plain(tmp_path, "gevent", workers=2) as server:
        nginx = front(server.port)
        with Load(nginx.port) as load:
            for _ in range(2):
                old = eventually(lambda: len(server.workers()) == 2 and set(server.workers()), 60)
                server.process.send_signal(signal.SIGHUP)
                eventually(lambda old=old: not old & set(server.workers()), 60)
            answered = load.answered
            eventually(lambda: load.answered > answered + 100, 60)
        assert load.lost == []
        assert load.refused == 0


def test_killed_worker_loses_at_most_a_started_answer(
    front: Callable[[int], Nginx], tmp_path: Path
):
    kills = 3
    with Plain(tmp_path, "gevent", workers=2) as server:
        nginx = front(server.port)
        with Load(nginx.port) as load:
            for _ in range(kills):
                eventually(lambda: len(server.workers()) == 2, 60)
                answered = load.answered
                eventually(lambda answered=answered: load.answered > answered + 100, 60)
                os.kill(server.workers()[0], signal.SIGKILL)
        # Each kill meets about four requests. nginx asks again for those without an answer; one
        # whose head is through and whose body is not yet sent cannot be repeated.
        assert len(load.lost) <= kills


def test_without_proxy_the_answer_is_a_502(front: Callable[[int], Nginx]):
    answer = front(free_port()).client().embed("wordllama", "one")
    assert (answer.status, answer.error["code"]) == (502, "proxy_unavailable")
    assert answer.seconds < 10
