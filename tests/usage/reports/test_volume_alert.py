"""Unusual volume is counted, and logged once an hour."""

import logging
import time

from app.usage.reports.volume_alert import VolumeAlert
from app.usage.store.store import Store, VolumeLimits
from tests.usage.conftest import row


def test_unusual_volume_is_counted_and_logged_once(sqlite, caplog):
    store = Store(sqlite)
    now = int(time.time() * 1000)
    store.insert([row(n, time=now, user="loud") for n in range(6)])
    store.insert([row(n, time=now - 2 * 3_600_000, key="long-ago") for n in range(10, 20)])
    alert = VolumeAlert(store, VolumeLimits(requests=5))
    assert alert.counts == {"key": 0, "user": 0}
    caplog.set_level(logging.WARNING, "app.usage")
    alert()
    alert()
    assert alert.counts == {"key": 1, "user": 1}
    assert [(g["key"], g["user"], g["requests"]) for g in alert.groups] == [
        ("team", "", 6),
        ("team", "loud", 6),
    ]
    assert [record.message for record in caplog.records] == [
        "unusual volume: key 'team', user '': 6 requests, 60 tokens within an hour",
        "unusual volume: key 'team', user 'loud': 6 requests, 60 tokens within an hour",
    ]
    store.purge(now + 1)
    alert()
    assert (alert.counts, alert.groups) == ({"key": 0, "user": 0}, [])
