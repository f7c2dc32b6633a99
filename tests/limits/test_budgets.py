"""Quotas of calendar days and months, and budgets in dollars."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from app.limits.counters.memory import MemoryWindows
from app.limits.limiter import Limiter
from tests.limits.callers import caller, left, outcome, priced, refused, request, served, settle

DAY = 86_400


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
