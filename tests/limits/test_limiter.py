"""The limits of keys: admission, headers, errors, and limits of end users."""

import pytest

from app import config
from app.domain import Caller
from app.limits import limiter as limits
from app.limits.counters import memory as windows
from app.limits.limiter import make_limiter
from app.limits.rules import duration
from tests.api.fake import settings as app_settings
from tests.limits.callers import caller, left, outcome, refused, request, served, settle

FREE = Caller("free")


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


def test_cached_tokens_count_if_the_settings_say_so(make):
    team = caller(tokens=100)
    for count_cached, expected in ((True, 50), (False, 90)):
        limiter = make(count_cached=count_cached)
        grant = limiter.admit(team, request(50))
        settle(limiter, grant, outcome(50, cached=40))
        assert left(grant.headers, "tokens") == expected


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
