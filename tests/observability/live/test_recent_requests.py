"""Recent requests are bounded in number and calls, hold no inputs, and are found by their id."""

import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from msgspec.structs import replace

from app.domain import CallRecord, Outcome, Vectors
from app.errors import BadRequest, Unauthorized
from app.observability.live.observer import MAX_PENDING
from app.observability.live.recent_requests import (
    MAX_BYTES,
    MAX_CALLS,
    MAX_REQUESTS,
    MAX_REQUESTS_WITHOUT_KEY,
)
from app.observability.request_record import MAX_TEXT_LENGTH, record_of
from tests.observability.live.conftest import SOURCE, T, exchange, finish

CALL = CallRecord(0, 1, SOURCE, 1.0, 1.1, 1.2, "", 1, False, False)


def kept(live):
    """Return the requests that are kept, and those that are pending."""
    live.fold()
    return live.requests.all()


def ids(live):
    return [request.record.request_id for request in kept(live)]


def found(live, request_id):
    live.fold()
    return live.requests.find(request_id)


def test_last_thousand_are_kept(live):
    for number in range(MAX_REQUESTS + 10):
        finish(live, exchange(f"r{number}"), 200)
    assert ids(live) == [f"r{n}" for n in range(10, MAX_REQUESTS + 10)]


def test_flood_without_key_displaces_no_request_of_a_caller(live):
    finish(live, exchange("mine"), 200)
    for number in range(3 * MAX_REQUESTS):
        finish(live, exchange(f"r{number}", key=None, error=Unauthorized("no key")), 401)
    assert len(ids(live)) == 1 + MAX_REQUESTS_WITHOUT_KEY
    (mine,) = found(live, "mine")
    assert mine.record.status == 200


def test_many_calls_displace_the_oldest_requests(live):
    """To read all that is kept, and to describe it at the end of the worker, takes a short time."""
    for number in range(MAX_CALLS // 100 + 5):
        finish(live, exchange(f"r{number}", calls=[tuple(CALL)] * 100), 200)
    assert sum(len(request.calls) for request in kept(live)) == live.requests._calls == MAX_CALLS
    assert ids(live) == [f"r{n}" for n in range(5, MAX_CALLS // 100 + 5)]
    for _ in range(MAX_REQUESTS):
        finish(live, exchange("without calls"), 200)
    assert ids(live) == ["without calls"] * MAX_REQUESTS
    assert live.requests._calls == 0


def test_large_requests_displace_the_oldest(live):
    for number in range(2 * MAX_REQUESTS):
        large = exchange(f"r{number}", error=BadRequest("ü" * 10_000), calls=[tuple(CALL)] * 10)
        large.path = "/" + "\N{GRINNING FACE}" * 1000
        finish(live, large, 400)
    found = ids(live)
    size = sum(len(encoded) for encoded, _ in live.requests._kept)
    assert 0.99 * MAX_BYTES < size == live.requests._bytes <= MAX_BYTES
    assert found == [f"r{n}" for n in range(2 * MAX_REQUESTS - len(found), 2 * MAX_REQUESTS)]
    for _ in range(MAX_REQUESTS):
        finish(live, exchange("small"), 200)
    assert ids(live) == ["small"] * MAX_REQUESTS
    size = sum(len(encoded) for encoded, _ in live.requests._kept)
    assert size == live.requests._bytes


def test_a_request_larger_than_all_that_are_kept_leaves_none(live):
    calls = [tuple(CALL)] * (MAX_CALLS + 1)
    finish(live, exchange("before"), 200)
    finish(live, exchange("larger", calls=calls), 200)
    assert ids(live) == []
    assert live.requests._bytes == live.requests._calls == 0


def test_a_thousand_requests_with_the_longest_texts_are_kept(live):
    for number in range(MAX_REQUESTS):
        error = BadRequest(f"{number}" + "ü" * 10_000)
        longest = exchange(f"{number}" + "x" * 120, error=error, calls=[tuple(CALL)] * 5)
        longest.path = f"/{number}" + "ü" * 10_000
        finish(live, longest, 400)
    assert len(ids(live)) == MAX_REQUESTS


def test_a_request_with_values_that_cannot_be_encoded_is_kept(live):
    source = ("p", "half \ud800")  # as the settings name it
    one = exchange("r", calls=[tuple(CALL._replace(source=source))], trace_id="\udfff")
    one.outcome = Outcome(Vectors([b"1234"], [2**70]), "p", purchases={source: 2**70})
    one.outcome = replace(one.outcome, cached_tokens=-(2**70))
    for number in range(3):
        finish(live, exchange(str(number)) if number != 1 else one, 200)
    before, request, after = kept(live)
    assert (before.record.request_id, after.record.request_id) == ("0", "2")
    assert request.record.trace_id == "\N{REPLACEMENT CHARACTER}"
    assert (request.record.tokens, request.record.cached_tokens) == (2**63 - 1, -(2**63))
    source = ("p", "half \N{REPLACEMENT CHARACTER}")
    assert request.calls == (CALL._replace(source=source),)


@pytest.mark.parametrize("tokens", [2**70, -(2**70)])
def test_a_request_with_too_many_tokens_is_kept(live, tokens):
    finish(live, exchange("r", tokens=tokens), 200)
    (request,) = kept(live)
    assert request.record.tokens == max(-(2**63), min(tokens, 2**63 - 1))


def test_neither_inputs_nor_vectors_are_kept(live):
    finish(live, exchange("r"), 200)
    (request,) = kept(live)
    assert "a text" not in repr(request)
    assert "1234" not in repr(request)
    assert live.requests._bytes < 600


def test_same_id_finds_all_newest_first(live, clock):
    for status in (500, 200):
        finish(live, exchange("r"), status)
        clock.now += 1
    assert [request.record.status for request in found(live, "r")] == [200, 500]
    assert found(live, "other") == []


def test_values_are_those_of_the_exchange(live):
    one = exchange("r", admitted_at=5.0, space="s", calls=[tuple(CALL)], cached=1)
    one.admitted = True
    finish(live, one, 200)
    (request,) = found(live, "r")
    assert (request.ended_at, request.side, request.cost) == (T, None, 2)
    assert (request.started, request.admitted_at, request.calls) == (one.started, 5.0, (CALL,))
    assert request.record == replace(record_of(one, 200, 0.0), time=request.record.time)


def test_messages_are_bounded(live):
    error = BadRequest("x")
    error.log_message = "y" * 10_000
    error.attempts = 2
    finish(live, exchange("r", error=error), 400)
    (request,) = found(live, "r")
    assert len(request.record.error) == MAX_TEXT_LENGTH
    assert (request.record.error_code, request.side) == ("invalid_request_error", "caller")
    assert request.record.attempts == 2


@pytest.fixture
def quick_switches():
    """Let the interpreter switch between threads after a microsecond."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("quick_switches")
def test_threads_that_add_at_once_add_each_request_once(live):
    together = Barrier(4)

    def add(turn):
        if turn == 0:
            for number in range(MAX_PENDING - 1):
                finish(live, exchange(f"r{number}"), 200)
        together.wait()
        live.fold()

    with ThreadPoolExecutor(4) as pool:
        for _ in range(11):
            list(pool.map(add, range(4)))
    assert len(ids(live)) == MAX_REQUESTS
    assert live.figures.totals()["requests",] == 11 * (MAX_PENDING - 1)


def test_threads_keep_and_count_all_requests(live):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: finish(live, exchange(f"r{n}"), 200), range(30 * MAX_PENDING)))
    assert len(set(ids(live))) == MAX_REQUESTS
    assert live.figures.totals()["requests",] == 30 * MAX_PENDING
