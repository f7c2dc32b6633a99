"""The steps of a request: what happened, in order, with why each call was made."""

import pytest

from app.domain import CallRecord
from app.observability.live.recent_requests import RecentRequest
from app.observability.live.steps import describe
from app.observability.request_record import RequestRecord

A, B = ("a", "m"), ("b", "m")
STARTED = 100.0


def call(start, stop, source, queued, called, ended, result="", *, hedge=False):
    """Return a call whose times are seconds since the start of the request."""
    times = (None if at is None else STARTED + at for at in (queued, called, ended))
    return CallRecord(start, stop, source, *times, result, 1, hedge, False)


def finished(*calls, admitted_at=STARTED + 0.1, **fields):
    values = dict.fromkeys(RequestRecord.__struct_fields__)
    values |= {
        "request_id": "r",
        "status": 200,
        "cache": "off",
        "items": 4,
        "tokens": 4,
        "attempts": sum(one[4] is not None for one in calls),
        "total_ms": 2000.0,
    }
    record = RequestRecord(**values | fields)
    return RecentRequest(record, 1000.0, None, 2_000_000_000, STARTED, admitted_at, calls)


def calls_of(*calls, **fields):
    steps = describe(finished(*calls, **fields))["steps"]
    return [(s["reason"], s["result"], s["to_ms"]) for s in steps if s["step"] == "call"]


def test_steps_follow_each_other_in_time():
    told = describe(finished(call(0, 4, A, 0.2, 0.3, 1.5)))
    assert [(s["step"], s["from_ms"], s["to_ms"]) for s in told["steps"]] == [
        ("read", 0, 100),
        ("plan", 100, 200),
        ("call", 200, 1500),
        ("answer", 1500, 2000),
    ]
    assert told["steps"][2]["called_ms"] == 300
    assert (told["cost_dollars"], told["started_at"], told["total_ms"]) == (2, 998, 2000)


@pytest.mark.parametrize(
    ("second", "reason"), [(call(0, 4, A, 1, 1, 2), "retry"), (call(0, 4, B, 1, 1, 2), "fail-over")]
)
def test_call_after_a_failure_is_a_retry_there_or_a_fail_over(second, reason):
    first = call(0, 4, A, 0.2, 0.3, 0.5, "unavailable")
    assert calls_of(second, first) == [("first", "unavailable", 500), (reason, "vectors", 2000)]


def test_parts_of_a_split_request_are_first_calls():
    parts = call(0, 2, A, 0.2, 0.3, 0.9), call(2, 4, B, 0.2, 0.3, 1.0)
    assert [reason for reason, _, _ in calls_of(*parts)] == ["first", "first"]


def test_smaller_calls_after_a_refusal_are_a_split():
    first = call(0, 4, A, 0.2, 0.3, 0.5, "rejected")
    halves = call(0, 2, A, 0.6, 0.6, 0.9), call(2, 4, A, 0.6, 0.6, 1.0)
    assert [reason for reason, _, _ in calls_of(first, *halves)] == ["first", "split", "split"]


def test_abandoned_call_ends_with_the_vectors_of_the_other():
    slow = call(0, 4, A, 0.2, 0.3, None, "abandoned")
    hedge = call(0, 4, B, 0.8, 0.8, 1.2, hedge=True)
    assert calls_of(slow, hedge) == [("first", "abandoned", 1200), ("hedge", "vectors", 1200)]
    late = call(0, 4, B, 0.8, 0.8, 1.2)
    assert calls_of(slow, late)[1][0] == "late"


def test_call_without_vectors_ends_with_its_request():
    waiting = call(0, 4, A, 0.2, None, None, "abandoned")
    told = describe(finished(waiting, error_code="timeout", status=504, cache=None))
    assert told["steps"][-1]["to_ms"] == 2000
    assert told["steps"][-1]["called_ms"] is None


@pytest.mark.parametrize(
    ("fields", "last"),
    [
        ({"cache": "hit"}, "lookup"),
        ({"cache": "miss"}, "joined"),
        ({"cache": None, "error_code": "overloaded"}, "plan"),
        ({"admitted_at": 0.0, "error_code": "model_not_found"}, "read"),
    ],
)
def test_request_without_calls(fields, last):
    steps = describe(finished(**fields))["steps"]
    assert steps[-1]["step"] == last
    assert steps[-1]["to_ms"] == 2000


def test_calls_beyond_the_limit_are_counted():
    assert describe(finished(call(0, 4, A, 0, 0, 1), attempts=7))["calls_left_out"] == 6
