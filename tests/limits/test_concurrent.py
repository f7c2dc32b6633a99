"""The limit of concurrent requests, in memory and in a real Valkey: never more at once."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain import Caller, EmbeddingRequest, Outcome, Vectors
from app.errors import RateLimited
from app.limits.counters.memory import MemoryWindows
from app.limits.counters.redis import SharedWindows
from app.limits.limiter import GRACE_S, Limiter
from tests.redis.patience import PATIENT_S
from tests.support.server import eventually, free_port
from tests.support.valkey import Valkey

DONE = Outcome(Vectors([b"1234"], [1]), provider="p")


@pytest.fixture(params=["memory", "valkey"])
def make(request, clock):
    """Makes limiters that share their counters."""
    if request.param == "memory":
        windows = MemoryWindows(clock=clock)
        return lambda: Limiter(windows, clock=clock)
    make_windows = request.getfixturevalue("make_windows")
    return lambda: Limiter(make_windows(clock), clock=clock)


def team(limit=2, **limits):
    return Caller("team", concurrent_requests=limit, **limits)


def request(timeout=10):
    return EmbeddingRequest("m", ["x"], timeout=timeout)


def refusal(limiter, caller):
    with pytest.raises(RateLimited) as caught:
        limiter.admit(caller, request())
    return caught.value


def test_requests_over_the_limit_are_refused_until_others_end(make):
    one, other = make(), make()
    grants = [limiter.admit(team(), request()) for limiter in (one, other)]
    assert [grant.headers for grant in grants] == [{}, {}]
    error = refusal(one, team())
    assert (error.status, error.code, error.type) == (429, "rate_limit_exceeded", "requests")
    assert error.message == (
        "Rate limit reached for concurrent requests: limit 2, in progress 2. "
        "Please try again in 1s."
    )
    assert (error.retry_after, error.should_retry, error.headers) == (1, None, {})
    refusal(other, team())
    one.settle(grants[0], None, {})  # it failed
    other.settle(other.admit(team(), request()), DONE, {})
    grants[0] = one.admit(team(), request())
    refusal(other, team())
    assert one.admit(Caller("other", concurrent_requests=1), request())


def test_a_caller_with_one_request_at_a_time_is_never_refused(make):
    limiters = [make(), make()]
    for number in range(60):
        limiter = limiters[number % 2]
        limiter.settle(limiter.admit(team(1), request()), DONE, {})


def test_limits_are_taken_all_or_none(make):
    limiter, caller = make(), team(1, requests_per_minute=3, tokens_per_day=100)
    grant = limiter.admit(caller, request())
    for _ in range(5):
        assert refusal(limiter, caller).headers["x-ratelimit-remaining-requests"] == "2"
    limiter.settle(grant, DONE, {})
    assert grant.headers["x-ratelimit-limit-requests"] == "3"
    for _ in range(2):
        limiter.settle(limiter.admit(caller, request()), DONE, {})
    assert "requests per minute" in refusal(limiter, caller).message
    assert limiter.admit(team(1), request())  # the refused one is not in progress


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.integers(0, 5), max_size=30))
def test_count_is_that_of_the_requests_in_progress(make, clock, steps):
    """0 to 2 begin a request, others end one; at the end all have ended."""
    limiters, grants = [make(), make()], []
    for step in steps:
        clock.now += 0.1
        if step > 2 and grants:
            limiter, grant = grants.pop(step % len(grants))
            limiter.settle(grant, DONE if step % 2 else None, {})
        elif len(grants) < 2:
            limiter = limiters[step % 2]
            grants.append((limiter, limiter.admit(team(), request())))
        else:
            assert refusal(limiters[step % 2], team())
    for limiter, grant in grants:
        limiter.settle(grant, DONE, {})
    for grant in [limiters[0].admit(team(), request()) for _ in range(2)]:
        limiters[0].settle(grant, None, {})


def test_in_memory_each_worker_has_a_share(clock):
    worker = Limiter(MemoryWindows(4, clock))
    for _ in range(2):
        worker.admit(team(8), request())
    refusal(worker, team(8))
    few = Limiter(MemoryWindows(4, clock))
    few.admit(team(1), request())  # at least one
    refusal(few, team(1))


def test_requests_of_a_killed_worker_are_counted_until_they_expire(
    valkey, redis, clock, patient_steps
):
    windows = [SharedWindows(valkey.url, timeout=PATIENT_S, clock=clock) for _ in range(2)]
    killed, other = map(Limiter, windows)
    killed.admit(team(), request(timeout=10))
    killed.admit(team(), request(timeout=600))
    killed.windows.close()
    refusal(other, team())
    clock.now += 10 + GRACE_S - 0.001
    refusal(other, team())
    clock.now += 0.001
    other.settle(other.admit(team(), request()), DONE, {})
    clock.now += 600
    grants = [other.admit(team(), request()) for _ in range(2)]
    refusal(other, team())
    for grant in grants:
        other.settle(grant, DONE, {})
    assert redis.keys("*") == []
    other.windows.close()


def test_without_the_server_no_request_is_refused():
    windows = SharedWindows(f"redis://127.0.0.1:{free_port()}", timeout=0.05)
    limiter = Limiter(windows)
    for _ in range(5):
        limiter.admit(team(1), request())
    assert windows.state().unchecked == 5
    windows.close()


def test_end_without_a_reply_is_sent_when_the_server_answers_again(clock, patient_steps):
    with Valkey(appendonly="yes", appendfsync="always") as server:
        limiter = Limiter(SharedWindows(server.url, timeout=PATIENT_S, clock=clock))
        grant = limiter.admit(team(1), request())
        assert grant.windows
        server.kill()
        limiter.settle(grant, DONE, {})
        assert limiter.windows._ended
        server.start()
        eventually(lambda: not limiter.windows._ended)
        grant = eventually(lambda: (g := limiter.admit(team(1), request())).windows and g)
        refusal(limiter, team(1))
        limiter.windows.close()
