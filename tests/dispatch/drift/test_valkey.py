"""CheckResults and the lease in a real Valkey, shared by hosts, which is killed and frozen."""

import time
from dataclasses import replace

import pytest

from app.dispatch.drift import valkey as module
from app.dispatch.drift.results import CheckResult
from app.dispatch.drift.targets import targets_of
from app.dispatch.drift.valkey import SharedResults, SharedUnavailable
from tests.dispatch.drift.fake import FakeProvider, FakeReferences, Host, reference
from tests.support.clock import Clock
from tests.support.valkey import Valkey


@pytest.fixture(autouse=True)
def patient_steps(monkeypatch):
    """Give redis-py more time than a busy machine needs."""
    monkeypatch.setattr(module, "STEP_TIMEOUT_S", 20.0)


@pytest.fixture(scope="module")
def server():
    with Valkey() as made:
        yield made


@pytest.fixture
def up(server):
    """The server, empty and well, before the test and after it."""
    if server.process is None:
        server.start()
    server.client().flushall()
    yield server
    if server.process is None:
        server.start()


@pytest.fixture
def shared(up):
    """Makes clients, one for each host."""
    made = []

    def make():
        made.append(SharedResults(up.url, "embeddings"))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def hosts(shared, tmp_path):
    """Two hosts, each with providers of its own, one clock and one reference."""
    clock, references = Clock(1_000_000), FakeReferences(reference())
    clock.now = time.time()
    made = []
    for name in "xy":
        (tmp_path / name).mkdir()
        providers = {"a": FakeProvider(), "b": FakeProvider()}
        options = {"shared": shared(), "every": 100, "on_drift": "eject"}
        made.append(Host(tmp_path / name, providers, references, clock, **options))
        made[-1].clock = clock
    yield made
    for host in made:
        host.stop()


def result(at=None, **fields):
    at = time.time() if at is None else at
    return CheckResult("r", at, at, 0.9999, 1.0, "code", **fields)


def checks(host):
    return [provider.checks for provider in host.providers.values()]


def test_published_results_are_read_by_other_hosts(shared):
    one, other = shared(), shared()
    assert one.read() == {}
    found = {"s a/x 1": result(), "é b/x 2": result(error="failed with 503")}
    one.publish(found)
    one.publish({})
    assert other.read() == found


def test_results_that_no_host_renews_are_removed(shared, up):
    one = shared()
    old = result(at=time.time() - module.RESULTS_TTL_S - 1)
    one.publish({"old": old})
    one.publish({"new": result()})
    assert list(one.read()) == ["new"]
    assert 0 < up.client().ttl("embeddings:space-check") <= module.RESULTS_TTL_S


def test_what_another_program_wrote_is_no_result(shared, up):
    up.client().hset("embeddings:space-check", mapping={b"\xff": b"\xff", "x": "[1]", "y": "{}"})
    assert shared().read() == {}


def test_one_host_has_the_lease(shared, up):
    one, other = shared(), shared()
    assert one.acquire()
    assert not other.acquire()
    other.extend()
    other.release()
    assert not other.acquire()
    up.client().pexpire("embeddings:space-check:lease", 60_000)
    one.extend()
    assert up.client().pttl("embeddings:space-check:lease") > 60_000
    one.release()
    assert other.acquire()


def test_lease_of_a_killed_worker_ends(shared, up):
    shared().acquire()
    assert 0 < up.client().pttl("embeddings:space-check:lease") <= module.LEASE_S * 1000


def test_server_that_is_away_is_unavailable_and_then_back(shared, up):
    one = shared()
    up.kill()
    for ask in (one.read, one.acquire, one.extend, one.release):
        with pytest.raises(SharedUnavailable):
            ask()
    up.start()
    assert one.read() == {}


def test_address_is_shown_without_its_password():
    unreachable = SharedResults("redis://:secret@127.0.0.1:1/0", "embeddings")
    with pytest.raises(SharedUnavailable) as caught:
        unreachable.read()
    assert "secret" not in str(caught.value)


# Two hosts


def test_one_host_checks_and_the_other_ejects_alike(hosts):
    one, other = hosts
    one.providers["a"].space = "other"
    one.tick()
    other.tick()
    assert (checks(one), checks(other)) == ([1, 1], [0, 0])
    assert one.states() == other.states() == {"a": "drifted", "b": "ok"}
    one.providers["a"].space = ""
    other.clock.now += 100
    other.tick()
    one.tick()
    assert (checks(one), checks(other)) == ([1, 1], [1, 1])
    assert one.states() == other.states() == {"a": "ok", "b": "ok"}


def test_no_host_checks_while_another_has_the_lease(hosts, shared):
    one, _ = hosts
    stranger = shared()
    assert stranger.acquire()
    one.tick()
    assert checks(one) == [0, 0]
    stranger.release()
    one.tick()
    assert checks(one) == [1, 1]


def test_provider_on_a_host_is_checked_while_another_host_has_the_lease(hosts, shared):
    one, _ = hosts
    assert shared().acquire()
    target = next(t for t in one.watch._targets.values() if t.deployment.provider_name == "a")
    target.is_on_this_host = True
    one.tick()
    assert checks(one) == [1, 0]


def test_lease_is_extended_while_a_check_runs(hosts, shared, up):
    one, _ = hosts
    one.providers["b"].may_answer.clear()
    one.tick_until(lambda: one.agreements()["a"] == 1.0)
    up.client().pexpire("embeddings:space-check:lease", 60_000)
    one.clock.now += 61
    one.watch.tick()
    assert up.client().pttl("embeddings:space-check:lease") > 60_000
    assert not shared().acquire()
    one.providers["b"].may_answer.set()
    one.tick()
    assert shared().acquire()


def test_each_host_checks_for_itself_while_the_server_is_away(hosts, up, caplog):
    up.kill()
    for host in hosts:
        host.providers["a"].space = "other"
        host.tick()
        host.tick()
    assert [checks(host) for host in hosts] == [[1, 1], [1, 1]]
    assert [host.states()["a"] for host in hosts] == ["drifted", "drifted"]
    away = [r for r in caplog.records if "shares checks of vector spaces" in r.getMessage()]
    assert len(away) == 2  # once a host


def test_each_host_checks_the_providers_on_itself(tmp_path, shared, monkeypatch):
    provider = {"a": FakeProvider()}
    (tmp_path / "x").mkdir()
    host = Host(tmp_path / "x", provider, FakeReferences(), Clock(1_000_000))

    def keys(base_url, kind, hostname):
        settings = replace(host.settings.providers["a"], base_url=base_url, kind=kind)
        found = targets_of(
            host.dispatcher.deployments(), host.settings.models, {"a": settings}, lambda: hostname
        )
        return list(found)

    for local in ("http://127.0.0.1:8080/v1", "http://localhost/v1", "http://[::1]:1/v1"):
        assert keys(local, "openai", "x") != keys(local, "openai", "y")
    assert keys(None, "local", "x") != keys(None, "local", "y")
    assert keys(None, "openai", "x") == keys(None, "openai", "y")
    assert keys("http://10.0.0.1/v1", "openai", "x") == keys("http://10.0.0.1/v1", "openai", "y")
    assert keys("http://10.0.0.1/v1", "openai", "x") != keys("http://10.0.0.2/v1", "openai", "x")
