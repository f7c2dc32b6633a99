"""The cache shared by workers, in a real Valkey that is killed, frozen, damaged and cleared."""

import itertools
import os
import re
import subprocess
import sys
import threading
import time

import pytest

from tests.conftest import WORKER_CLASSES
from tests.support import settings
from tests.support.server import ROOT, eventually
from tests.support.vectors import assert_answers

fresh = (f"not in any worker yet, number {i}" for i in itertools.count())
TIMEOUT_S = 1  # of requests for Valkey, where it is away: more than a busy machine adds to most


def take(number):
    """Return texts that no test has used."""
    return list(itertools.islice(fresh, number))


def state(answer):
    assert answer.status == 200, answer.text
    return answer.headers["x-proxy-cache"]


@pytest.fixture(scope="module")
def many(start_proxy, valkey):
    """A proxy with four workers. Its timeout is long: what comes later than that is a miss."""
    return start_proxy(CACHE={"ttl": 600, "url": valkey.url, "timeout": 10}, workers=4)


@pytest.fixture(scope="module", params=WORKER_CLASSES)
def hosts(request, start_proxy, valkey):
    """Two proxies of one worker each, without a cache in memory: all hits are of Valkey.

    Valkey also counts for their limits, which are never reached.
    """
    cache = {"ttl": 600, "url": valkey.url, "max_bytes": 1, "timeout": TIMEOUT_S}
    limits = {"requests_per_minute": 10**7, "dollars_per_month": 10**6}
    both = {"CACHE": cache, "LIMITS": {"url": valkey.url}}
    keys = {"tests": settings.KEYS["tests"] | limits}
    return [start_proxy(request.param, **both, keys=keys) for _ in range(2)]


@pytest.fixture
def up(valkey):
    """The Valkey, empty and running, before and after the test."""
    if valkey.process is None:
        valkey.start()
    with valkey.client() as client:
        client.flushall()
    yield valkey
    if valkey.process is None:
        valkey.start()


def stored(valkey, number):
    """Wait until this number of entries is stored."""
    with valkey.client() as client:
        eventually(lambda: len(client.keys("*:v:*")) >= number, what=f"{number} entries")


def test_entry_of_one_host_is_found_by_another(hosts, up, upstream):
    one, other = (proxy.client() for proxy in hosts)

    def is_found():
        upstream.reset()
        with up.client() as client:
            client.flushall()
        texts = take(5)
        assert state(one.embed("embed", texts[:3], caching=True)) == "miss"
        stored(up, 3)
        hit = other.embed("embed", texts[:3], caching=True)
        partial = other.embed("embed", texts, caching=True, dimensions=None)
        assert_answers(hit.json, texts[:3], 32)
        assert_answers(partial.json, texts, 32)
        if [state(hit), state(partial)] != ["hit", "partial"]:
            return False  # Valkey has answered too late
        assert upstream.seen == texts
        assert hit.json["usage"] == one.embed("embed", texts[:3]).json["usage"]
        return True

    eventually(is_found)


def test_four_workers_call_the_provider_once(many, up, upstream):
    other, text = take(2)
    client = many.client()
    for _ in range(40):  # a worker connects at its first request
        client.embed("embed", other, caching=True)
    upstream.reset()
    assert state(client.embed("embed", text, caching=True)) == "miss"
    stored(up, 2)
    assert {state(client.embed("embed", text, caching=True)) for _ in range(40)} == {"hit"}
    assert upstream.seen == [text]


def test_damaged_entry_is_embedded_again(many, up, upstream):
    texts = take(4)
    client = many.client()
    client.embed("embed", texts, caching=True)
    stored(up, 4)
    with up.client() as redis:
        values = {name: redis.get(name) for name in redis.keys("*:v:*")}
        one, two, three, four = sorted(values)
        redis.set(one, values[two])  # of another item
        redis.set(two, b"garbage")
        redis.set(three, b"\x01" + values[three][1:])  # another version
        redis.set(four, values[four][:-4])  # another width
    for _ in range(20):
        assert_answers(client.embed("embed", texts, caching=True).json, texts, 32)
    assert sorted(set(upstream.seen)) == sorted(texts)


def flask(many, *arguments):
    """Run a command for operators with the proxy's settings."""
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "cache", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=many._environment, capture_output=True, text=True, check=True
    ).stdout


def test_commands_show_and_clear_both_levels(many, up, upstream):
    texts = take(3)
    client = many.client()
    for _ in range(20):  # now every worker probably has it in memory
        client.embed("embed", texts, caching=True)
        client.embed("floats", texts[0], caching=True)
    stored(up, 4)
    assert "floats" in flask(many, "stats")
    names = [f"{os.uname().nodename}:{pid} " for pid in many.workers()]
    eventually(lambda: any(map(flask(many, "stats").count, names)), 60, "a worker's report")
    cleared = flask(many, "clear", "--model", "embed")
    assert cleared.startswith("3 entries removed")
    upstream.reset()
    # In the worker's memory, too, soon after.
    eventually(lambda: state(client.embed("embed", texts, caching=True)) == "miss")
    assert {state(client.embed("floats", texts[0], caching=True)) for _ in range(20)} == {"hit"}
    assert upstream.seen == texts


class Load:
    """Clients that send requests and record time, duration and cache result."""

    def __init__(self, proxies, threads=4, texts=8):
        self._clients, self._texts = [proxy.client() for proxy in proxies], take(texts)
        self.answers = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number):
        client = self._clients[number % len(self._clients)]
        for n in itertools.count(number):
            if self._over.is_set():
                return
            # One of two texts is always new, so each request looks up the second level.
            texts = [self._texts[n % len(self._texts)], f"{number} {n} {time.monotonic()}"]
            answer = client.embed("embed", texts, caching=True)
            cached = answer.headers.get("x-proxy-cached-tokens", "0")
            self.answers.append((time.monotonic(), answer.seconds, answer.status, cached != "0"))
            time.sleep(0.005)  # without, they would use all cores

    def since(self, start):
        """Return the answers from a time on."""
        return [answer for answer in self.answers if answer[0] - answer[1] >= start]


def seconds(answers, share):
    """Return a quantile of durations."""
    taken = sorted(seconds for _, seconds, _, _ in answers)
    return taken[int(len(taken) * share)]


def is_known_to_be_away(hosts):
    """Whether no worker asks Valkey for vectors any more."""
    texts = [host.client().get("/metrics").text for host in hosts]
    return all(re.search("^embeddings_proxy_cache_down{.* 1.0$", text, re.M) for text in texts)


def lost(hosts, load, server, break_it):
    """Return whether answers are no slower once Valkey is known to be away, and quantiles of both.

    It would show if each answer waited for Valkey, or one in a hundred.
    """
    started = time.monotonic()
    eventually(lambda: len(load.since(started)) > 100, 60)
    well = load.since(started)
    eventually(lambda: any(hit for *_, hit in load.since(started)), what="hits")
    break_it()
    eventually(lambda: is_known_to_be_away(hosts))
    known = time.monotonic()
    eventually(lambda: len(load.since(known)) > 100, 60)
    then = load.since(known)
    assert not any(hit for *_, hit in then)
    restarted = time.monotonic()
    server.thaw() if server.process else server.start()
    eventually(lambda: any(hit for *_, hit in load.since(restarted)), what="hits again")
    seen = [(seconds(part, 0.5), seconds(part, 0.99)) for part in (well, then)]
    (p50, p99), (p50_then, p99_then) = seen
    return p50_then < p50 + TIMEOUT_S / 2 and p99_then < p99 + 0.8 * TIMEOUT_S, seen


@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_killed_under_load_it_soon_costs_only_hits(hosts, up, upstream, how):
    """No answer fails. On a busy machine some tries are slow: the best of three counts."""
    tries = []
    with Load(hosts) as load:
        while len(tries) < 3:
            well, seen = lost(hosts, load, up, getattr(up, how))
            tries.append(seen)
            if well:
                break
    assert {status for _, _, status, _ in load.answers} == {200}
    assert well, tries


def test_frozen_server_makes_few_answers_late(start_proxy, up, upstream):
    cache = {"ttl": 600, "url": up.url, "timeout": TIMEOUT_S}
    client = start_proxy(CACHE=cache, workers=4).client()
    texts = take(50)
    for text in texts[:20]:  # a worker connects at its first request
        client.embed("embed", text, caching=True)
    up.freeze()
    try:
        answers = [client.embed("embed", text, caching=True) for text in texts[20:]]
        assert {answer.status for answer in answers} == {200}
        assert max(answer.seconds for answer in answers) < TIMEOUT_S + 8
        # Three of each worker, and some that other load on the machine makes late.
        assert sum(answer.seconds > 0.9 * TIMEOUT_S for answer in answers) <= 4 * 4
    finally:
        up.thaw()
    (text,) = take(1)
    eventually(lambda: state(client.embed("embed", text, caching=True)) == "hit")
