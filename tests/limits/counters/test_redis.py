"""Limits counted in a real Valkey: exact over workers, and harmless if it does not answer."""

import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import config
from app.domain import Caller, EmbeddingRequest, Outcome, Vectors
from app.errors import QuotaExhausted, RateLimited
from app.limits.counters import redis as shared_windows
from app.limits.counters.memory import MemoryWindows
from app.limits.counters.redis import SharedWindows
from app.limits.counters.windows import Change, Take
from app.limits.limiter import Limiter, make_limiter
from app.limits.periods import MINUTE, Calendar, Sliding
from tests.api.fake import settings as app_settings
from tests.limits.conftest import MIDNIGHT, await_sent
from tests.redis.patience import PATIENT_S
from tests.support.clock import Clock
from tests.support.server import eventually, free_port
from tests.support.valkey import Valkey

DAY = Calendar("day")


def test_two_workers_share_counters(make_windows, clock):
    one, other = make_windows(clock), make_windows(clock)
    take = [Take("{k}:0", 3, MINUTE, 1)]
    assert [w.take(take).refused for w in (one, other, one, other)] == [-1, -1, -1, 0]


def test_take_is_all_or_nothing(make_windows, clock):
    windows = make_windows(clock)
    takes = [
        Take("{k}:0", 10, MINUTE, 1),
        Take("{k}:1", 100, MINUTE, 60),
        Take("{k}:2", 10**9, DAY, 5),
    ]
    assert windows.take(takes).refused == -1
    for _ in range(5):
        taken = windows.take(takes)
        assert taken.refused == 1
        assert [w.current for w in taken.windows] == [1, 60, 5]


def test_correction_applies_to_the_period_of_the_take(make_windows, clock):
    windows = make_windows(clock)
    take = [Take("{k}:0", 1000, MINUTE, 100)]
    period = windows.take(take).windows[0].period_number
    windows.change([Change("{k}:0", MINUTE, period, 40, 0)])
    await_sent(windows)
    assert windows.take(take).windows[0].current == 160
    clock.now += 60
    assert windows.take(take).windows[0].before == 160
    windows.change([Change("{k}:0", MINUTE, period, 200, 0)])  # more than there was
    windows.change([Change("{k}:0", MINUTE, period + 1, 0, 7)])
    windows.change([Change("{k}:0", MINUTE, period - 1, 0, 10**6)])  # expired
    windows.change([Change("{unused}:0", MINUTE, period, 0, 5)])
    await_sent(windows)
    (window,) = windows.take(take).windows
    assert (window.before, window.current) == (0, 207)


def test_counters_expire_by_the_clock_of_the_server(make_windows, redis):
    windows = make_windows()
    (window,) = windows.take([Take("{k}:0", 3, MINUTE, 1)]).windows
    assert abs(window.now - time.time()) < 60
    (name,) = redis.keys("*")
    assert name == b"embeddings:limits:2:{k}:0"
    assert 0 < redis.ttl(name) <= 120
    assert redis.expiretime(name) == (window.period_number + 2) * 60


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 6400).map(lambda n: n / 64),
            st.integers(0, 12),
            st.integers(0, 12),
            st.integers(-15, 15),
        ),
        max_size=25,
    )
)
def test_redis_and_memory_decide_alike(make_quiet_windows, redis, steps):
    clock = Clock(MIDNIGHT)
    shared, memory = make_quiet_windows(clock), MemoryWindows(clock=clock)
    redis.flushdb()
    for gap, first, second, more in steps:
        clock.now += gap
        takes = [
            Take("{k}:0", 20, MINUTE, first),
            Take("{k}:1", 30, Sliding(30), second),
            Take("{k}:2", 90, DAY, second),
        ]
        in_redis, in_memory = shared.take(takes), memory.take(takes)
        assert in_redis.refused == in_memory.refused
        assert in_redis.windows == in_memory.windows
        change = [Change("{k}:0", MINUTE, in_memory.windows[0].period_number, 20, 20 + more)]
        memory.change(change)
        shared.change(change)
        shared._send(shared.remote._client, False)


def test_concurrent_takes_never_exceed_the_limit(make_windows):
    let_in = []

    def work(windows):
        for _ in range(100):
            if windows.take([Take("{k}:0", 250, Calendar("month"), 1)]).refused < 0:
                let_in.append(1)

    workers = [make_windows() for _ in range(4)]
    threads = [threading.Thread(target=work, args=(windows,)) for windows in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(let_in) == 250


def team(**limits):
    return Caller("team", **limits)


def request(tokens=1, **fields):
    return EmbeddingRequest("m", [[5] * tokens], **fields)


def outcome(tokens):
    return Outcome(Vectors([b"1234"], [tokens]), provider="p")


def test_limiter_with_redis_windows(make_windows, clock):
    limiters = [Limiter(make_windows(clock)) for _ in range(2)]
    busy = team(requests_per_minute=3, tokens_per_day=100, user_tokens_per_minute=50)
    grant = limiters[0].admit(busy, request(40, user="a"))
    limiters[0].settle(grant, outcome(30), {})
    assert grant.headers["x-ratelimit-remaining-requests"] == "2"
    assert grant.headers["x-ratelimit-remaining-tokens"] == "20"
    await_sent(limiters[0].windows)
    with pytest.raises(RateLimited, match=r"of this end user: limit 50, used 30, requested 21"):
        limiters[1].admit(busy, request(21, user="a"))
    grant = limiters[1].admit(busy, request(50, user="b"))
    limiters[1].settle(grant, outcome(50), {})
    with pytest.raises(QuotaExhausted, match=r"per day: limit 100, used 80, requested 21"):
        limiters[0].admit(busy, request(21, user="c"))


def test_names_of_keys_and_users_are_not_sent_to_redis(make_windows, redis):
    limiter = Limiter(make_windows())
    limiter.admit(team(user_requests_per_minute=3), request(user="jane@example.org"))
    (name,) = redis.keys("*")
    assert b"jane" not in name
    assert b"team" not in name


def test_dead_server_does_not_refuse_or_delay_requests(make_windows):
    windows = make_windows(url=f"redis://127.0.0.1:{free_port()}")
    limiter = Limiter(windows)
    start = time.monotonic()
    for _ in range(20):
        grant = limiter.admit(team(requests_per_minute=1), request())
        limiter.settle(grant, outcome(1), {})
        assert grant.headers == {}
    assert time.monotonic() - start < PATIENT_S / 2  # which is the timeout of each
    assert windows.state() == (20, 0, True)


def test_counting_resumes_when_the_server_returns(clock, patient_steps):
    with Valkey() as server:
        windows = SharedWindows(server.url, timeout=PATIENT_S, clock=clock)
        take = [Take("{k}:0", 1, MINUTE, 1)]
        assert windows.take(take).refused == -1
        assert windows.take(take).refused == 0
        server.kill()
        assert windows.take(take) is None
        server.start()  # empty, without scripts
        eventually(lambda: windows.take(take))
        assert windows.take(take).refused == 0
        assert windows.state().unchecked >= 1
        assert not windows.state().away
        windows.close()


def test_corrections_that_cannot_be_sent_are_dropped_and_counted(make_windows, monkeypatch):
    monkeypatch.setattr(shared_windows, "MAX_WAITING", 3)
    windows = make_windows(url=f"redis://127.0.0.1:{free_port()}")
    windows.change([Change(f"{n}", MINUTE, 1, 0, 1) for n in range(5)])
    windows.change([Change("0", MINUTE, 1, 0, 1)])
    assert windows.dropped == 2
    assert windows._changes["0", 1] == 2

    class Broken:
        def pipeline(self, **_):
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        windows._send(Broken(), False)
    assert windows.dropped == 5


def test_take_change_and_charge_on_a_cluster(clock, patient_steps):
    options = {"cluster_enabled": "yes", "cluster_announce_ip": "127.0.0.1"}
    with Valkey(**options) as server:
        with server.client() as admin:
            admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            eventually(lambda: b"cluster_state:ok" in admin.execute_command("CLUSTER", "INFO"))
        url = f"redis+cluster://127.0.0.1:{server.port}"
        windows = SharedWindows(url, timeout=PATIENT_S, clock=clock)
        limiter = Limiter(windows)
        everything = team(
            requests_per_minute=2,
            tokens_per_day=100,
            user_tokens_per_minute=50,
            concurrent_requests=1,
        )
        grant = limiter.admit(everything, request(40, user="a"))
        limiter.settle(grant, outcome(30), {})
        await_sent(windows)
        grant = limiter.admit(everything, request(10, user="a"))
        assert [window.current for window in grant.windows] == [2, 40, 40, 1]
        with pytest.raises(RateLimited):
            limiter.admit(everything, request(1, user="b"))
        windows.close()


def test_settings_select_the_limiter(valkey, redis, patient_steps):
    given = {"url": valkey.url, "namespace": "n", "timeout": PATIENT_S}
    checked = config.check(app_settings(LIMITS=given))
    limiter = make_limiter(checked)
    limiter.admit(team(requests_per_minute=1), request())
    with pytest.raises(RateLimited):
        make_limiter(checked).admit(team(requests_per_minute=1), request())
    assert redis.keys("n:limits:2:*")
    limiter.close()
