"""Limits where no server counts them, or where it does not answer."""

from app.observability.metrics import catalog
from tests.e2e.limited import SECRETS, TIMEOUT_S, hammer, keys
from tests.e2e.limited import counted as counted
from tests.e2e.limited import many as many
from tests.support.server import eventually
from tests.support.valkey import Valkey


def test_in_memory_each_worker_has_a_share(start_proxy, steady):
    proxy = start_proxy(keys=keys(), workers=2)
    statuses, seconds = hammer(proxy, "share", 320)
    assert statuses.keys() == {200, 429}
    assert 100 <= statuses[200] <= 200 + 200 * seconds / 60


def value_of(proxy, metric):
    """Return a metric without labels."""
    lines = proxy.client(None).get("/metrics").text.splitlines()
    (value,) = [line.split()[1] for line in lines if line.split()[0] == metric.samples[0]]
    return float(value)


def test_without_server_no_request_is_refused_or_late(many, counted, steady):
    client, before = many.client(SECRETS["minute"]), value_of(many, catalog.LIMITS_UNCHECKED)
    assert client.embed("steady", "one").headers["x-ratelimit-limit-requests"] == "3"
    counted.kill()
    answers = [client.embed("steady", "one") for _ in range(20)]
    assert {answer.status for answer in answers} == {200}
    assert max(answer.seconds for answer in answers) < TIMEOUT_S / 2
    eventually(lambda: value_of(many, catalog.LIMITS_UNCHECKED) >= before + 20)
    assert value_of(many, catalog.LIMITS_DOWN) >= 1
    counted.start()
    eventually(lambda: client.embed("steady", "one").status == 429)
    eventually(lambda: value_of(many, catalog.LIMITS_DOWN) == 0)


def test_usage_without_server_is_charged_afterwards(many, counted, steady):
    client = many.client(SECRETS["away"])
    assert client.embed("steady", "one").status == 200
    counted.kill()
    for _ in range(3):
        assert client.embed("steady", "w " * 20).status == 200
    counted.start()
    answer = eventually(lambda: (a := client.embed("steady", "w")).status == 429 and a)
    assert answer.error["code"] == "insufficient_quota"
    assert "It resets at 20" in answer.error["message"]


def test_when_away_refuse_refuses_keys_with_a_budget(start_proxy, steady):
    with Valkey() as server:
        limits = {"url": server.url, "timeout": TIMEOUT_S, "when_away": "refuse"}
        proxy = start_proxy(LIMITS=limits, keys=keys())
        strict, minute = (proxy.client(SECRETS[name]) for name in ("strict", "minute"))
        assert strict.embed("steady", "one").status == 200
        server.kill()
        answer = eventually(lambda: (a := strict.embed("steady", "one")).status != 200 and a)
        assert (answer.status, answer.error["code"]) == (503, "usage_unavailable")
        assert answer.headers["retry-after"] == "1"
        assert minute.embed("steady", "one").status == 200
        server.start()
        eventually(lambda: strict.embed("steady", "one").status == 200)
