"""Who is unusual: counters with few labels, a warning an hour, and no label per user."""

import logging
import time

import pytest

from app.usage.store import Store, Unusual
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
        ("oidc:somebody", 200),
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


def test_labels_are_bounded():
    watch = Watch([f"key-{n}" for n in range(1000)])
    for n in range(1000):
        watch.finished(exchange(caller=f"key-{n}", user=f"u-{n}"), 200)
    assert len(watch.requests) == 201


def test_the_unusual_are_counted_and_warned_of_once(sqlite, caplog):
    store, watch = Store(sqlite), Watch(["team"])
    now = int(time.time() * 1000)
    store.insert([row(n, time=now, user="loud") for n in range(6)])
    store.insert([row(n, time=now - 2 * 3_600_000, key="long-ago") for n in range(10, 20)])
    patrol = VolumeAlert(store, Unusual(requests=5), watch)
    assert watch.unusual == {"key": 0, "user": 0}
    caplog.set_level(logging.WARNING, "app.usage")
    patrol()
    patrol()
    assert watch.unusual == {"key": 1, "user": 1}
    assert [record.message for record in caplog.records] == [
        "unusual volume: key 'team', user '': 6 requests, 60 tokens within an hour",
        "unusual volume: key 'team', user 'loud': 6 requests, 60 tokens within an hour",
    ]
    store.purge(now + 1)
    patrol()
    assert watch.unusual == {"key": 0, "user": 0}
