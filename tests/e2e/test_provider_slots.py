"""The calls at once at a provider are bounded over all workers of all hosts."""

import os
import signal
import threading
import time

import pytest

from tests.conftest import WORKER_CLASSES
from tests.e2e.hosts import in_threads, two_hosts
from tests.support import settings
from tests.support.server import Proxy, eventually
from tests.support.upstream import Upstream
from tests.support.valkey import Valkey

SLOTS = 6
CALL_S = 0.25


class CountingUpstream(Upstream):
    """The provider, which counts calls at once."""

    def __init__(self):
        super().__init__()
        self.counts = threading.Lock()
        self.now = self.most = self.answered = 0

    def answer_slowly(self, exchange):
        with self.counts:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(CALL_S)
        with self.counts:
            self.now -= 1
            self.answered += 1
        exchange.reply(200, exchange.answer())


@pytest.fixture(scope="module", params=WORKER_CLASSES)
def worker_class(request):
    return request.param


@pytest.fixture(scope="module")
def upstream(worker_class):
    """The provider."""
    with CountingUpstream() as provider:
        provider.always(provider.answer_slowly)
        yield provider


@pytest.fixture(scope="module")
def valkey(worker_class):
    """The Valkey that leases."""
    with Valkey() as server:
        yield server


@pytest.fixture(scope="module")
def hosts(worker_class, upstream, valkey, tmp_path_factory):
    """Two proxies of two workers each."""
    directory = tmp_path_factory.mktemp("hosts")
    provider = settings.provider(upstream, merge=False, max_inputs=1, concurrency=SLOTS)
    with two_hosts(directory, worker_class, valkey, provider, settings.model("p")) as both:
        yield both


def have_joined(valkey):
    """Whether all four workers have a lease, and the store has waited for others."""
    with valkey.client() as client:
        for key in client.keys("embeddings:slots:*"):
            fields = client.hgetall(key)
            held = [int(v.split()[1]) for k, v in fields.items() if k.startswith(b"w:")]
            return len(held) == 4 and all(held)
    return False


def pids_with_leases(valkey):
    """Return the pids of the workers that the store knows."""
    with valkey.client() as client:
        fields = [f for key in client.keys("embeddings:slots:*") for f in client.hkeys(key)]
        return {int(f.split(b"-")[1]) for f in fields if f.startswith(b"w:")}


def load(hosts, seconds):
    """Send requests of several clients to all hosts; return how many were answered."""
    end, answers = time.monotonic() + seconds, []

    def ask(host, number):
        client, count = host.client(), 0
        while time.monotonic() < end:
            count += 1
            answers.append(client.embed("m", f"{host.port} {number} {count}").status)

    in_threads(hosts, 8, ask)
    assert set(answers) == {200}
    return len(answers)


def all_slots_were_used(host):
    """Whether one worker has embedded texts, each in a call, with the slots of all.

    With its share alone, half of them at most, it would take twice as long or more.
    """
    texts = [f"text {number}" for number in range(20 * SLOTS)]
    began = time.monotonic()
    assert host.client().embed("m", texts, timeout=60).status == 200
    return time.monotonic() - began < 20 * CALL_S * 1.5


def test_lease_of_a_killed_worker_ends_soon(hosts, valkey):
    eventually(lambda: have_joined(valkey), 60)
    pid = hosts[0].workers()[0]
    assert pid in pids_with_leases(valkey)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: pid not in pids_with_leases(valkey))  # else after 75 s
    assert len(pids_with_leases(valkey)) >= 3


def test_all_workers_together_keep_to_the_slots_and_use_them(hosts, upstream, valkey):
    eventually(lambda: have_joined(valkey), 60)
    # Other tests may take the processors for some seconds.
    eventually(lambda: all_slots_were_used(hosts[0]), what="one worker uses all slots")
    load(hosts, 1)
    eventually(lambda: load(hosts, 4) >= 0.7 * 4 / CALL_S * SLOTS, 40, "all slots are used")
    valkey.kill()
    load(hosts, 3)
    assert upstream.most == SLOTS


@pytest.fixture(scope="module")
def host(worker_class, upstream, tmp_path_factory):
    """A proxy of two workers that has no server for limits."""
    directory = tmp_path_factory.mktemp("host")
    provider = settings.provider(upstream, merge=False, max_inputs=1, concurrency=SLOTS)
    path = settings.settings_file(
        directory,
        providers={"p": provider},
        models={"m": settings.model("p")},
        keys={"tests": settings.key(settings.KEY, "*")},
    )
    with Proxy(directory, path, worker_class=worker_class, workers=2) as proxy:
        yield proxy


def test_workers_of_a_host_lend_each_other_slots_without_a_server(host, upstream):
    # Other tests may take the processors for some seconds.
    eventually(lambda: all_slots_were_used(host), what="one worker uses all slots")
    eventually(lambda: load([host], 3) >= 0.7 * 3 / CALL_S * SLOTS, 30, "all slots are used")
    assert upstream.most == SLOTS


def test_slots_are_kept_during_a_reload_and_after_a_death(host, upstream):
    old = set(host.workers())
    host.process.send_signal(signal.SIGHUP)
    load([host], 4)
    eventually(lambda: len(host.workers()) == 2 and not old & set(host.workers()), 60)
    assert upstream.most <= SLOTS
    eventually(lambda: not upstream.now)
    os.kill(host.workers()[0], signal.SIGKILL)
    eventually(lambda: load([host], 2) >= 0.7 * 2 / CALL_S * SLOTS, 40, "all slots are used again")
    assert upstream.most <= SLOTS
