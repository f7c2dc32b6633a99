"""Notifications are signed, retried and bounded, over a real socket."""

import base64
import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config import NotifySettings, SettingsError, check
from app.limits import webhook as module
from app.limits.webhook import Webhook, backoff, secret_bytes, sign
from tests.api.fake import settings
from tests.support.server import eventually

SECRET = "whsec_" + base64.b64encode(b"a secret of the receiver").decode()


class Receiver:
    """Answers with ``statuses`` in turn, then 200; ``requests`` lists headers and bodies."""

    def __init__(self):
        self.requests = []
        self.statuses = []
        self.hold = None  # an Event that answers wait for


@pytest.fixture
def receiver():
    known = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            known.requests.append((dict(self.headers), body))
            if known.hold is not None:
                known.hold.wait(60)
            self.send_response(known.statuses.pop(0) if known.statuses else 200)
            self.send_header("location", "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        known.url = f"http://127.0.0.1:{server.server_port}/hook"
        yield known
        if known.hold is not None:
            known.hold.set()
        server.shutdown()


@pytest.fixture
def patient_close(monkeypatch):
    """Let the end wait for messages as long as a busy machine needs."""
    monkeypatch.setattr(module, "SHUTDOWN_TIMEOUT_S", 20.0)


@pytest.fixture
def start(receiver, patient_close):
    started = []

    def start(url=None, wait=lambda _: False):
        made = NotifySettings(url or receiver.url, SECRET, timeout=60)
        hook = Webhook(made, clock=lambda: 1_700_000_000.5, wait=wait)
        hook.start()
        started.append(hook)
        return hook

    yield start
    for hook in started:
        hook.close()


def test_a_message_is_json_and_signed(receiver, start):
    hook = start()
    hook.send("msg_1", "soft_limit.reached", {"key": "team"})
    eventually(lambda: hook.state().sent == 1)
    ((headers, body),) = receiver.requests
    assert json.loads(body) == {
        "type": "soft_limit.reached",
        "timestamp": "2023-11-14T22:13:20.500000+00:00",
        "data": {"key": "team"},
    }
    assert headers["content-type"] == "application/json"
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg_1", "1700000000")
    signed = b"msg_1.1700000000." + body
    digest = hmac.digest(b"a secret of the receiver", signed, hashlib.sha256)
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


def test_signature_equals_the_example_of_the_specification():
    """The example of the Standard Webhooks libraries' own tests."""
    secret = secret_bytes("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    given = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert given == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_failure_is_retried_with_growing_waits(receiver, start):
    waits = []
    hook = start(wait=lambda seconds: waits.append(seconds))
    receiver.statuses = [500, 503, 429]
    hook.send("msg_1", "t", {})
    hook.send("msg_2", "t", {})
    eventually(lambda: hook.state().sent == 2)
    ids = [headers["webhook-id"] for headers, _ in receiver.requests]
    assert ids == ["msg_1"] * 4 + ["msg_2"]
    assert len(waits) == 3
    assert 0.5 <= waits[0] <= 1 <= waits[1] <= 2 <= waits[2] <= 4


@pytest.mark.parametrize("status", [302, 400, 404, 410])
def test_client_error_of_receiver_is_not_retried(receiver, start, caplog, status):
    hook = start()
    receiver.statuses = [status]
    hook.send("msg_1", "t", {})
    eventually(lambda: hook.state().failed == 1)
    assert len(receiver.requests) == 1
    assert f"msg_1 is not delivered: status {status}" in caplog.text


def test_url_of_unreachable_receiver_is_not_logged(start, caplog):
    hook = start("http://user:pass-word@127.0.0.1:9/hook")
    hook.send("msg_1", "t", {})
    eventually(lambda: hook.state().failed == 1)
    assert "is not delivered: ConnectionError" in caplog.text
    assert "pass-word" not in caplog.text


def test_queue_is_bounded_and_send_never_waits(receiver, start, monkeypatch, caplog):
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    receiver.hold = threading.Event()
    hook = start()
    hook.send("msg_0", "t", {})
    eventually(lambda: receiver.requests)
    for number in (1, 2, 3):
        hook.send(f"msg_{number}", "t", {})
    assert hook.state() == (0, 0, 1)
    assert "msg_3 is dropped" in caplog.text
    receiver.hold.set()
    eventually(lambda: hook.state() == (3, 0, 1))


def test_close_tries_queued_messages_once(receiver, patient_close):
    hook = Webhook(NotifySettings(receiver.url, SECRET, timeout=60))
    receiver.statuses = [500]
    for number in range(2):
        hook.send(f"msg_{number}", "t", {})
    hook.start()
    hook.close()
    assert sum(hook.state()) == 2
    assert hook._task.stop()


def test_unexpected_exception_does_not_end_the_thread(receiver, start, monkeypatch, caplog):
    hook = start()
    with monkeypatch.context() as patch:
        patch.setattr(hook, "_post", lambda *_: 1 / 0)
        hook.send("msg_1", "t", {})
        eventually(lambda: hook.state().failed == 1)
    hook.send("msg_2", "t", {})
    eventually(lambda: hook.state().sent == 1)
    assert "ZeroDivisionError" in caplog.text


@given(st.integers(0, 100))
def test_backoff_is_bounded(attempt):
    assert 0.5 <= backoff(attempt) <= module.MAX_BACKOFF_S


@pytest.mark.parametrize(
    ("notify", "mistake"),
    [
        ({"secret": "x" * 16}, "NOTIFY['url']: "),
        ({"url": "https://h"}, "NOTIFY['secret']: "),
        ({"url": "h", "secret": "x" * 16}, "NOTIFY['url']: must be an http:// or https://"),
        ({"url": "https://h", "secret": "short"}, "NOTIFY['secret']: must have 16 characters"),
        ({"url": "https://h", "secret": "whsec_no base64!"}, "must be base64 after 'whsec_'"),
        ({"url": "https://h", "secret": "x" * 16, "timout": 3}, "did you mean 'timeout'?"),
    ],
)
def test_invalid_notify_setting_is_named(notify, mistake):
    with pytest.raises(SettingsError) as caught:
        check(settings(NOTIFY=notify))
    assert mistake in str(caught.value)
    assert "short" not in str(caught.value)
