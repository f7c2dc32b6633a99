"""``GET /metrics``: who may read it, and the settings of metrics."""

import os

import pytest

from app.config import SettingsError, check
from app.observability.metrics import directory
from app.observability.metrics.gauges import Gauges
from tests.api.fake import AUTH, FakeProvider, app_with, settings


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::ffff:127.0.0.1", {}, 200),
        ("", {}, 200),  # a Unix socket
        ("10.1.2.3", {}, 200),
        ("192.0.2.1", {}, 401),
        ("127.0.0.1", {"X-Forwarded-For": "192.0.2.1"}, 401),
        ("127.0.0.1", {"X-Forwarded-For": "nonsense"}, 401),
        ("127.0.0.1", {"Forwarded": "for=127.0.0.1"}, 401),
        ("192.0.2.1", AUTH, 403),
    ],
)
def test_page_needs_allowed_address_or_admin_key(monkeypatch, address, headers, status):
    client = app_with(
        monkeypatch, FakeProvider(), METRICS={"allowed": ["127.0.0.0/8", "10.0.0.0/8"]}
    )
    answer = client.get("/metrics", headers=headers, environ_overrides={"REMOTE_ADDR": address})
    assert answer.status_code == status


def test_the_workers_of_a_server_share_a_directory(monkeypatch, tmp_path):
    monkeypatch.setenv(directory.VARIABLE, str(tmp_path))
    monkeypatch.setattr(Gauges, "keep_looking", lambda self: None)
    client = app_with(monkeypatch, FakeProvider())
    assert client.get("/metrics").status_code == 200
    assert list(tmp_path.glob(f"counter_{os.getpid()}-*.db"))


def test_metrics_can_be_disabled(monkeypatch):
    client = app_with(monkeypatch, FakeProvider(), METRICS={"enabled": False})
    assert client.get("/metrics").status_code == 404


def test_invalid_network_is_named():
    with pytest.raises(SettingsError, match=r"METRICS\['allowed'\]\[0\]: must be a network"):
        check(settings(METRICS={"allowed": ["10.0.0.0/40"]}))
