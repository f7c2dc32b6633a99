"""A document is fetched within bounds of time and size."""

import socket
import threading
import time
from http.client import IncompleteRead
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from app.auth import jwks_fetch
from app.auth.jwks_fetch import fetch


@pytest.fixture(autouse=True)
def patient_reads(monkeypatch):
    """Give each read of a fetch more time than the whole fetch."""
    monkeypatch.setattr(jwks_fetch, "READ_TIMEOUT_S", 60.0)


@pytest.fixture
def server():
    """The URL of a server with valid, slow, cut, large and redirecting responses."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status = 302 if self.path == "/moved" else 200
            self.send_response(status)
            self.send_header("Location", "/ok")
            if self.path == "/cut":
                self.send_header("Content-Length", "100")
            self.end_headers()
            if self.path == "/big":
                self.wfile.write(b"x" * (2**20 + 1))
            elif self.path == "/drip":
                try:
                    while True:
                        self.wfile.write(b"x")
                        time.sleep(0.05)
                except OSError:
                    pass
            else:
                self.wfile.write(b"keys")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_document_is_fetched_within_bounds(server):
    assert fetch(f"{server}/ok") == b"keys"
    with pytest.raises(ValueError, match="too large"):
        fetch(f"{server}/big")
    with pytest.raises(OSError, match="302"):
        fetch(f"{server}/moved")
    with pytest.raises(IncompleteRead):
        fetch(f"{server}/cut")


def test_slow_body_is_cut_at_the_deadline(server):
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        fetch(f"{server}/drip", limit_s=0.3)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_slow_head_or_handshake_is_cut_at_the_deadline(scheme):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            fetch(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/", limit_s=0.3)
        assert time.monotonic() - began < 20
