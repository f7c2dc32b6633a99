"""A wrong request gets an error that says what is wrong, and the next request is served.

The requests are in the tables `bad_bodies` and `bad_http`.
"""

import json

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.errors import MAX_ANSWER_BYTES, MAX_MESSAGE_LENGTH
from tests.e2e import bad_bodies, bad_http
from tests.e2e.bad_bodies import GOOD
from tests.e2e.bad_http import BODY, CHUNKED, FRAMING, LENGTH, TYPE, framed
from tests.support.server import eventually
from tests.support.vectors import assert_answers
from tests.support.wire import chunked

CASES = [*bad_bodies.BODIES, *bad_http.REQUESTS]
TOO_LARGE = 32 * 2**20 + 1


@pytest.fixture(autouse=True)
def served_well_afterwards(client, steady):
    """Send a good request after each bad one."""
    yield
    answer = client.embed("steady", "still well")
    assert answer.status == 200, answer.text
    assert_answers(answer.json, ["still well"], 32)


def send(client, case):
    headers = {"Content_Type": "application/json" if case.data else None, **case.headers}
    return client.request(case.method, case.path, case.data or None, **headers)


def test_cases_of_the_table_are_distinct():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) >= 120


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bad_request_gets_an_error_naming_the_fault(client, steady, case):
    answer = send(client, case)
    error = answer.error
    assert (answer.status, error["code"], error["param"]) == (case.status, case.code, case.param)
    assert case.message in error["message"]
    assert len(error["message"]) < 500  # the error does not repeat the request
    assert "sys." not in error["message"]  # and has no Python types
    assert answer.headers["x-request-id"]
    assert not steady.calls  # no provider was called


@pytest.mark.parametrize("case", bad_bodies.FINE, ids=str)
def test_unusual_request_is_served(client, case):
    answer = send(client, case)
    assert answer.status == 200, answer.text


def test_shortest_timeout_is_accepted(client):
    # A busy machine may take longer.
    answer = eventually(lambda: (a := client.embed("steady", "a", timeout=1)).status != 504 and a)
    assert answer.status == 200, answer.text


@pytest.mark.parametrize("path", ["//v1/embeddings", "/v1//embeddings", "/v1/embeddings/"])
def test_path_with_an_extra_slash_is_not_redirected(client, path):
    """A redirect would lose the body or the key, and would be HTML."""
    answer = client.post(bad_bodies.GOOD, path)
    if answer.status != 200:
        assert (answer.status, answer.error["code"]) == (404, "not_found")


@pytest.mark.parametrize("case", bad_http.METHODS, ids=str)
def test_wrong_method_gets_allow_header(client, case):
    allowed = send(client, case).headers["allow"].split(", ")
    assert ("POST" if "embeddings" in case.path else "GET") in allowed
    assert case.method not in allowed


@pytest.mark.parametrize("name", FRAMING)
def test_invalid_http_gets_one_answer_in_json(client, steady, name):
    status, data = FRAMING[name]
    answer = client.raw(data, finish=True)
    assert answer.status == status, answer.text
    assert answer.error["message"]
    assert answer.headers["x-request-id"]
    assert not steady.calls


@pytest.mark.parametrize("name", FRAMING)
def test_request_after_invalid_http_is_not_served(client, name):
    replies = client.raw_bytes(FRAMING[name][1] + framed(LENGTH, TYPE))
    assert replies.count(b"HTTP/1.1 ") == 1, replies
    assert b"<html" not in replies.lower()
    assert b"X-Injected" not in replies


def test_too_large_content_length_is_refused_before_the_body(client):
    answer = client.raw(framed(TYPE, f"Content-Length: {TOO_LARGE}", body=b"{"))
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    assert answer.error["param"] is None


def test_content_length_beyond_64_bits_is_refused(client):
    answer = client.raw(framed(TYPE, "Content-Length: " + "9" * 40, body=b"{"))
    assert answer.status in (400, 413)
    assert answer.error


@pytest.mark.parametrize("how", ["length", "chunks"])
def test_too_large_body_is_refused(client, how):
    body = b'{"model": "steady", "input": "' + b"x" * TOO_LARGE + b'"}'
    if how == "length":
        data = framed(TYPE, f"Content-Length: {len(body)}", body=body)
    else:
        pieces = [body[at : at + 2**20] for at in range(0, len(body), 2**20)]
        data = framed(TYPE, CHUNKED, body=chunked(*pieces))
    answer = client.raw(data)
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")


def test_body_over_the_limit_is_not_truncated(client):
    """A good request, blanks up to the limit, then garbage: no part of it is served."""
    body = BODY + b" " * (TOO_LARGE - len(BODY)) + b"nonsense"
    pieces = [body[at : at + 2**20] for at in range(0, len(body), 2**20)]
    answer = client.raw(framed(TYPE, CHUNKED, body=chunked(*pieces)))
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")


def test_body_of_almost_the_limit_is_accepted(client, steady):
    answer = client.embed("steady", "x" * (30 * 2**20))
    assert answer.status == 200, answer.text[:500]
    assert len(steady.seen[0]) == 30 * 2**20


def test_chunked_body_is_accepted(client):
    answer = client.raw(framed(TYPE, CHUNKED, body=chunked(BODY[:7], BODY[7:])))
    assert answer.status == 200, answer.text


def test_request_header_cannot_inject_an_answer_header(client):
    answer = client.raw(framed(TYPE, LENGTH, "X-Request-Id: a b<script>;é"))
    assert answer.status == 200
    assert answer.headers["x-request-id"].isascii()
    assert "<" not in answer.headers["x-request-id"]


ANY_TEXT = st.text(st.characters(), max_size=40)  # lone surrogates among it
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)
ANY_NAME = st.sampled_from(["model", "input", "dimensions", "user", "timeout", "caching"])
ANY_FIELDS = st.dictionaries(ANY_NAME | ANY_TEXT, ANY_JSON, max_size=3)


@hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(fields=ANY_FIELDS, times=st.sampled_from([1, 1, 10_000]), cut=st.sampled_from([0, 0, 5]))
def test_any_body_gets_a_short_answer_and_no_500(client, fields, times, cut):
    longer = {name * times: value for name, value in fields.items() if name != "timeout"}
    body = json.dumps({**GOOD, **longer}).encode()
    answer = client.post(body[: len(body) - cut])
    if answer.status != 200:
        assert 400 <= answer.status < 500, answer.text
        assert len(answer.text.encode()) <= MAX_ANSWER_BYTES
        assert len(answer.error["message"]) <= MAX_MESSAGE_LENGTH
