"""The limits of keys: admission, headers, errors; a retry after Retry-After is admitted."""

import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from app import config
from app.config import DeploymentSettings, ModelSettings
from app.domain import Caller, EmbeddingRequest, Outcome, Vectors
from app.errors import QuotaExhausted, RateLimited
from app.limits import limiter as limits
from app.limits import memory as windows
from app.limits.limiter import Limiter, make_limiter
from app.limits.memory import MemoryWindows
from app.limits.periods import MINUTE
from app.limits.pricing import Prices
from app.limits.rules import duration
from app.limits.windows import Take
from tests.api.fake import settings as app_settings

FREE = Caller("free")
DAY = 86_400


class Clock:
    """A wall clock that tests set; it starts at the beginning of a minute."""

    def __init__(self):
        self.now = 6_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    """The clock of the limiter."""
    return Clock()


@pytest.fixture
def make(clock):
    """Makes limiters by this clock."""

    def make(workers=1, prices=None, count_cached=True):
        return Limiter(MemoryWindows(workers, clock), prices, count_cached)

    return make


def caller(requests=None, tokens=None, name="team", **limits):
    return Caller(name, requests_per_minute=requests, tokens_per_minute=tokens, **limits)


def request(tokens=1, **fields):
    """Return a request whose estimate is so many tokens."""
    return EmbeddingRequest("m", [[5] * tokens], **fields)


def outcome(tokens, cached=0, provider="cheap"):
    """Return an outcome with so many tokens of each provider, all or none from the cache."""
    sources = [(name, "x") for name in provider.split(",") if name]
    rows = max(1, len(sources))
    vectors = Vectors([b"1234"] * rows, [tokens] * rows)
    bought = {} if cached else dict.fromkeys(sources, tokens)
    return Outcome(
        vectors, provider=provider, cached_tokens=cached, sources=sources, purchases=bought
    )


def settle(limiter, grant, outcome):
    limiter.settle(grant, outcome, outcome.purchases if outcome is not None else {})


def served(limiter, team, tokens=1, **fields):
    """Admit a request, settle it with its estimate, and return its headers."""
    grant = limiter.admit(team, request(tokens, **fields))
    settle(limiter, grant, outcome(tokens))
    return grant.headers


def left(headers, what):
    return int(headers[f"x-ratelimit-remaining-{what}"])


def refused(limiter, team, *args, **fields):
    with pytest.raises((RateLimited, QuotaExhausted)) as caught:
        limiter.admit(team, request(*args, **fields))
    return caught.value


def test_a_key_without_limits_is_not_counted(make):
    limiter = make()
    assert limiter.admit(FREE, request(10**6)) is None
    assert limiter.windows._counters == {}


def test_requests_are_admitted_up_to_the_limit(make):
    limiter, team = make(), caller(requests=3)
    assert [left(served(limiter, team), "requests") for _ in range(3)] == [2, 1, 0]
    error = refused(limiter, team)
    assert (error.status, error.code, error.type) == (429, "rate_limit_exceeded", "requests")
    assert error.message == (
        "Rate limit reached for requests per minute: limit 3, used 3, requested 1. "
        "Please try again in 1m1s."
    )
    assert error.should_retry is None
    assert error.retry_after == pytest.approx(60.001)
    assert error.headers == {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m41s",
    }


def test_tokens_are_admitted_up_to_the_limit(make):
    limiter, team = make(), caller(tokens=100)
    assert left(served(limiter, team, 60), "tokens") == 40
    assert refused(limiter, team, 41).type == "tokens"
    assert left(served(limiter, team, 40), "tokens") == 0


def test_refused_request_takes_nothing(make):
    limiter, team = make(), caller(requests=5, tokens=100)
    served(limiter, team, 60)
    for _ in range(20):
        error = refused(limiter, team, 50)
    assert left(error.headers, "requests") == 4
    assert left(error.headers, "tokens") == 40


def test_request_over_the_limit_has_should_retry_false(make):
    error = refused(make(), caller(tokens=100), 101)
    assert error.should_retry is False
    assert "try again" not in error.message


def test_keys_do_not_share_limits(make):
    limiter = make()
    served(limiter, caller(requests=1))
    served(limiter, caller(requests=1, name="other"))


def test_workers_share_a_limit_and_headers_show_the_whole(make):
    limiter, team = make(workers=4), caller(requests=8)
    for _ in range(2):
        headers = served(limiter, team)
    assert headers["x-ratelimit-limit-requests"] == "8"
    refused(limiter, team)
    served(make(workers=100), team)  # a share is at least 1


def test_request_over_a_worker_share_is_admitted_if_nothing_is_used(make, clock):
    limiter, team = make(workers=4), caller(tokens=100)
    assert left(served(limiter, team, 60), "tokens") == 0
    error = refused(limiter, team, 60)
    assert error.should_retry is None
    assert "used 60, requested 60. Please try again in" in error.message
    clock.now += error.retry_after
    served(limiter, team, 60)
    clock.now += 120
    assert refused(limiter, team, 101).should_retry is False


def test_an_estimate_is_corrected_by_the_count(make):
    limiter, team = make(), caller(tokens=100)
    grant = limiter.admit(team, request(50))
    settle(limiter, grant, outcome(80))
    assert left(grant.headers, "tokens") == 20
    grant = limiter.admit(team, request(20))
    settle(limiter, grant, None)  # it failed
    assert left(grant.headers, "tokens") == 20
    assert left(served(limiter, team, 10), "tokens") == 10
    requests_only = limiter.admit(caller(requests=5, name="other"), request())
    settle(limiter, requests_only, outcome(10**6))
    assert "x-ratelimit-limit-tokens" not in requests_only.headers


def test_correction_applies_to_the_period_of_the_take(make, clock):
    limiter, team = make(), caller(tokens=100)
    grants = [limiter.admit(team, request(20)) for _ in range(3)]
    settle(limiter, grants[0], None)
    clock.now += 60  # all of it is in the minute before now, which counts whole
    assert left(served(limiter, team, 1), "tokens") == 59
    settle(limiter, grants[1], None)
    assert left(served(limiter, team, 1), "tokens") == 78
    clock.now += 120
    settle(limiter, grants[2], outcome(10**6))  # expired
    assert left(served(limiter, team, 1), "tokens") == 99


def test_cached_tokens_count_if_the_settings_say_so(make):
    team = caller(tokens=100)
    for count_cached, expected in ((True, 50), (False, 90)):
        limiter = make(count_cached=count_cached)
        grant = limiter.admit(team, request(50))
        settle(limiter, grant, outcome(50, cached=40))
        assert left(grant.headers, "tokens") == expected


@pytest.mark.parametrize(
    ("setting", "reset"),
    [
        ("tokens_per_day", "2026-10-26T00:00:00+01:00"),
        ("tokens_per_month", "2026-11-01T00:00:00+01:00"),
    ],
)
def test_quota_resets_by_the_calendar(clock, setting, reset):
    clock.now = datetime.fromisoformat("2026-10-25T00:30:00+02:00").timestamp()  # summer ends today
    limiter = Limiter(MemoryWindows(clock=clock), zone=ZoneInfo("Europe/Berlin"))
    team = caller(**{setting: 100})
    assert left(served(limiter, team, 90), "tokens") == 10
    clock.now += 1000
    error = refused(limiter, team, 11)
    assert (error.status, error.code, error.type) == (429,) + ("insufficient_quota",) * 2
    period = setting.rpartition("_")[2]
    assert error.message == (
        f"You exceeded your current quota for tokens per {period}: "
        f"limit 100, used 90, requested 11. It resets at {reset}."
    )
    assert error.should_retry is False
    assert clock.now + error.retry_after == datetime.fromisoformat(reset).timestamp()
    clock.now += error.retry_after - 0.01
    assert refused(limiter, team, 11).retry_after == pytest.approx(0.01)
    clock.now += 0.01
    assert left(served(limiter, team, 100), "tokens") == 0  # whole again


def test_correction_of_yesterday_does_not_change_today(make, clock):
    limiter, team = make(), caller(tokens_per_day=100)
    grant = limiter.admit(team, request(50))
    clock.now += DAY
    assert left(served(limiter, team, 10), "tokens") == 90
    settle(limiter, grant, outcome(80))
    assert left(served(limiter, team, 10), "tokens") == 80


def test_headers_show_the_limit_with_least_remaining(make, clock):
    limiter, team = make(), caller(tokens=100, tokens_per_day=150)
    assert served(limiter, team, 60)["x-ratelimit-limit-tokens"] == "100"
    clock.now += 120
    headers = served(limiter, team, 60)
    assert (headers["x-ratelimit-limit-tokens"], left(headers, "tokens")) == ("150", 30)
    assert "h" in headers["x-ratelimit-reset-tokens"]


def test_end_users_have_limits_of_their_own(make):
    limiter = make()
    team = caller(user_requests_per_minute=2, user_tokens_per_minute=100, requests=5)
    for user in ("a", "b"):
        for _ in range(2):
            served(limiter, team, user=user)
        error = refused(limiter, team, user=user)
        assert (error.code, error.type) == ("rate_limit_exceeded", "requests")
        assert "per minute of this end user: limit 2" in error.message
    assert refused(limiter, team, 101, user="c").type == "tokens"
    served(limiter, team)
    error = refused(limiter, team, user="d")  # the limit of the whole key
    assert "of this end user" not in error.message


def test_requests_without_user_share_one_limit(make):
    limiter, team = make(), caller(user_requests_per_minute=1)
    served(limiter, team)
    refused(limiter, team)
    refused(limiter, team, user="")


def test_same_user_of_two_keys_has_two_limits(make):
    limiter = make()
    served(limiter, caller(user_requests_per_minute=1), user="a")
    served(limiter, caller(user_requests_per_minute=1, name="other"), user="a")


def priced(**prices):
    deployments = tuple(
        DeploymentSettings(name, "x", price_per_million_tokens=price)
        for name, price in prices.items()
    )
    return Prices({"m": ModelSettings("m", deployments)})


def test_dollars_are_reserved_at_the_highest_price_and_settled_at_the_actual(make):
    limiter = make(prices=priced(cheap=0.02, dear=2.0))
    team = caller(dollars_per_month=0.001)  # 500 dear tokens, 50,000 cheap ones
    assert "limit $0.001, used $0, requested $0.001002" in refused(limiter, team, 501).message
    for _ in range(100):
        grant = limiter.admit(team, request(450))
        assert grant.headers == {}
        settle(limiter, grant, outcome(450))
        assert grant.headers == {}  # OpenAI has none for money
        if grant.windows[0].used >= 100_000:
            break
    error = refused(limiter, team, 490)
    assert (error.code, error.type) == ("insufficient_quota",) * 2
    limiter = make(prices=priced(cheap=0.02, dear=2.0))
    grant = limiter.admit(team, request(400))
    settle(limiter, grant, outcome(25, provider="cheap,dear"))
    assert grant.windows[0].used == 25 * 20 + 25 * 2000


def test_cached_or_unpriced_tokens_cost_no_dollars(make):
    limiter, team = make(prices=priced(cheap=1.0)), caller(dollars_per_month=0.0001)
    grant = limiter.admit(team, request(100))
    settle(limiter, grant, outcome(100, cached=100, provider=""))
    assert grant.windows[0].used == 0
    served(make(), team, 10**6)


def test_changed_limits_apply_at_once(make):
    limiter = make()
    served(limiter, caller(requests=1))
    refused(limiter, caller(requests=1))
    served(limiter, caller(requests=2))


def test_number_of_remembered_callers_is_bounded(make, monkeypatch):
    monkeypatch.setattr(limits, "MAX_CALLERS_REMEMBERED", 10)
    limiter = make()
    for n in range(35):
        served(limiter, caller(requests=1, name=f"token-{n}"))
    assert len(limiter._rules) <= 10


def test_expired_counters_are_removed(make, clock, monkeypatch):
    monkeypatch.setattr(windows, "MIN_COUNTERS_SWEPT", 100)
    limiter, team = make(), caller(user_requests_per_minute=1)
    limiter.windows._sweep_at = 100
    for n in range(3000):
        clock.now += 1
        served(limiter, team, user=f"user-{n}")
    assert len(limiter.windows._counters) <= 400


def test_settings_select_the_limiter(monkeypatch):
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    limiter = make_limiter(config.check(app_settings(LIMITS={"count_cached_tokens": False})))
    team = caller(requests=4)
    for _ in range(2):
        served(limiter, team)
    refused(limiter, team)
    limiter.close()


@settings(max_examples=100, deadline=None)
@given(
    limit=st.integers(1, 40),
    steps=st.lists(st.tuples(st.floats(0, 90), st.integers(1, 12)), max_size=60),
)
def test_decisions_are_those_of_the_limits_library(limit, steps):
    with pytest.MonkeyPatch.context() as monkeypatch:
        clock = Clock()
        windows = MemoryWindows(clock=clock)
        monkeypatch.setattr(time, "time", clock)
        storage = MemoryStorage()
        library, item = SlidingWindowCounterRateLimiter(storage), RateLimitItemPerMinute(limit)
        for gap, cost in steps:
            clock.now += gap
            taken = windows.take([Take("name", limit, MINUTE, cost)])
            assert (taken.refused < 0) is library.hit(item, "name", cost=cost)
            remaining = library.get_window_stats(item, "name").remaining
            assert taken.windows[0].remaining == max(0, remaining)
        storage.timer.cancel()


@settings(max_examples=60, deadline=None)
@given(
    limit=st.integers(1, 50),
    offset=st.floats(0, 59.9),
    gaps=st.lists(st.floats(0, 50), max_size=60),
)
def test_request_is_admitted_after_retry_after(limit, offset, gaps):
    clock = Clock()
    clock.now += offset
    limiter, team = Limiter(MemoryWindows(clock=clock)), caller(requests=limit)
    for gap in gaps:
        clock.now += gap / limit
        try:
            limiter.admit(team, request())
        except RateLimited as error:
            clock.now += error.retry_after + 0.01
            limiter.admit(team, request())


@settings(max_examples=60, deadline=None)
@given(limit=st.integers(1, 30), gaps=st.lists(st.floats(0, 10), min_size=20, max_size=120))
def test_no_minute_has_more_than_twice_the_limit(limit, gaps):
    """The sliding window counter is an approximation; this is its bound."""
    clock = Clock()
    limiter, team = Limiter(MemoryWindows(clock=clock)), caller(requests=limit)
    let_in = []
    for gap in gaps:
        clock.now += gap
        try:
            limiter.admit(team, request())
        except RateLimited:
            continue
        let_in.append(clock.now)
    for start in let_in:
        assert sum(start <= at < start + 60 for at in let_in) <= 2 * limit


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.0201, "21ms"),
        (0.5, "500ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (59, "59s"),
        (60, "1m0s"),
        (90, "1m30s"),
        (119.8, "2m0s"),
        (3600, "1h0m0s"),
        (90_061.5, "25h1m2s"),
    ],
)
def test_durations_are_written_as_openai_does(seconds, text):
    assert duration(seconds) == text
