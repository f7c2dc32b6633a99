"""The headers in which providers say what remains of their rate limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.providers.rate_limits import (
    _PAIRS,
    _STATED,
    limit_headers,
    seconds_to_reset,
    stated_limits,
)
from app.providers.refusals import MAX_WAIT_S
from tests.providers.http import call, provider_at, within
from tests.support.upstream import Upstream

NOON = "Mon, 30 Nov 2026 12:00:00 GMT"  # 1796040000


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "120ms"}, 0.12),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "12"}, 12),
        (
            {"anthropic-ratelimit-tokens-remaining": "0"}
            | {"anthropic-ratelimit-tokens-reset": "2026-11-30T12:00:07Z"},
            7,
        ),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1796040009"}, 9),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1796040009500"}, 9.5),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "3"}, 3),
        ({"ratelimit-remaining": "1", "ratelimit-reset": "3"}, None),
        ({"ratelimit-remaining": "0"}, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "2026-99-99T99:99:99Z"}, None),
        ({}, None),
    ],
)
def test_seconds_to_the_reset_of_a_limit_that_is_used_up(headers, seconds):
    found = seconds_to_reset({**headers, "date": NOON})
    assert found == (seconds if seconds is None else pytest.approx(seconds))


@given(
    st.dictionaries(
        st.sampled_from([name for pair in _PAIRS for name in pair] + ["date"]),
        st.just("0") | st.text() | st.from_regex(r"[0-9:TZ.+-]{0,40}", fullmatch=True),
    )
)
def test_any_headers_give_seconds_or_none(headers):
    found = seconds_to_reset(headers)
    assert found is None or 0 < found <= MAX_WAIT_S


def test_what_remains_of_calls_and_of_tokens():
    headers = {"x-ratelimit-remaining-requests": "7", "x-ratelimit-reset-requests": "1m30s"}
    headers |= {"x-ratelimit-limit-requests": "500", "date": NOON}
    assert stated_limits(limit_headers(headers)) == [(7, 500, 90), None]
    headers = {"x-ratelimit-remaining-tokens": "150", "x-ratelimit-reset-tokens": "6"}
    assert stated_limits(limit_headers(headers)) == [None, (150, None, 6)]
    assert limit_headers({"date": NOON}) is None


@given(
    st.fixed_dictionaries(
        dict.fromkeys(_STATED, st.text() | st.from_regex(r"[0-9smh.:]{0,20}", fullmatch=True))
    )
)
def test_any_headers_give_stated_limits_or_none(headers):
    for stated in stated_limits(limit_headers(headers)):
        assert stated is None or (stated.remaining > 0 and 0 < stated.reset_s <= MAX_WAIT_S)


def test_answer_with_vectors_says_what_remains():
    with Upstream() as upstream:
        headers = {"X-RateLimit-Remaining-Requests": "5", "X-RateLimit-Reset-Requests": "1m"}
        upstream.script(lambda exchange: exchange.reply(200, exchange.answer(), **headers))
        provider = provider_at(upstream)
        first, second = (provider.embed(call("x"), within()) for _ in range(2))
        assert stated_limits(first.limit_headers) == [(5, None, 60), None]
        assert second.limit_headers is None


def test_answer_with_vectors_says_when_a_limit_resets():
    with Upstream() as upstream:
        remaining = {"X-RateLimit-Remaining-Requests": "0", "X-RateLimit-Reset-Requests": "1m"}
        upstream.script(lambda exchange: exchange.reply(200, exchange.answer(), **remaining))
        provider = provider_at(upstream)
        first, second = (provider.embed(call("x"), within()) for _ in range(2))
        assert first.limit_resets_in == 60
        assert second.limit_resets_in is None
