"""Abuse detection counts by key with bounded labels, and logs unusual volume once an hour."""

import logging
import time

import pytest

from app.usage.store import Store, VolumeLimits
from app.usage.watch import VolumeAlert, Watch
from tests.usage.conftest import exchange, row


def test_requests_are_counted_by_key_and_result():
    watch = Watch(["team"])
    watch.started(exchange(), {})
    for caller, status in [
        ("team", 200),
        ("team", 200),
        ("team", 429),
        ("team", 403),
        ("team", 400),
        ("team", 404),
        ("team", 503),
        (None, 401),
        ("oidc:a-subject", 200),
        ("of-the-table", 200),
    ]:
        watch.finished(exchange(caller=caller), status)
    watch.finished(exchange(path="/v1/models", method="GET"), 200)
    assert watch.requests == {
        ("team", "ok"): 2,
        ("team", "refused"): 2,
        ("team", "invalid"): 2,
        ("team", "failed"): 1,
        ("", "refused"): 1,
        ("other", "ok"): 2,
    }
    with pytest.raises(TypeError):
        watch.requests["x", "ok"] = 1


def test_number_of_key_labels_is_bounded():
    watch = Watch([f"key-{n}" for n in range(1000)])
    for n in range(1000):
        watch.finished(exchange(caller=f"key-{n}", user=f"u-{n}"), 200)
    assert len(watch.requests) == 201


def test_unusual_volume_is_counted_and_logged_once(sqlite, caplog):
    store, watch = Store(sqlite), Watch(["team"])
    now = int(time.time() * 1000)
    store.insert([row(n, time=now, user="loud") for n in range(6)])
    store.insert([row(n, time=now - 2 * 3_600_000, key="long-ago") for n in range(10, 20)])
    alert = VolumeAlert(store, VolumeLimits(requests=5), watch)
    assert watch.unusual == {"key": 0, "user": 0}
    caplog.set_level(logging.WARNING, "app.usage")
    alert()
    alert()
    assert watch.unusual == {"key": 1, "user": 1}
    assert [record.message for record in caplog.records] == [
        "unusual volume: key 'team', user '': 6 requests, 60 tokens within an hour",
        "unusual volume: key 'team', user 'loud': 6 requests, 60 tokens within an hour",
    ]
    store.purge(now + 1)
    alert()
    assert watch.unusual == {"key": 0, "user": 0}
