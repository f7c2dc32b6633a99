"""The provider of the tests answers as the tests expect."""

import socket

import numpy as np
import pytest
import requests

from tests.support import refusals, stalls, wrong_answers
from tests.support.upstream import API_KEY, Upstream
from tests.support.vectors import assert_answers, vector

KEY = {"Authorization": f"Bearer {API_KEY}"}


@pytest.fixture
def upstream():
    with Upstream(width=8) as running:
        yield running


def ask(upstream, session=requests, **body):
    body = {"model": "m", "input": "hello", **body}
    return session.post(upstream.base_url + "/embeddings", json=body, headers=KEY, timeout=20)


@pytest.mark.parametrize("encoding", ["base64", "float"])
@pytest.mark.parametrize(
    ("value", "items", "tokens"),
    [
        ("one two", ["one two"], 2),
        (["a", "b c"], ["a", "b c"], 3),
        ([1, 2, 3], [[1, 2, 3]], 3),
        ([[1], [2, 3]], [[1], [2, 3]], 3),
    ],
)
def test_every_shape_is_answered_in_both_encodings(upstream, value, items, tokens, encoding):
    answer = ask(upstream, input=value, encoding_format=encoding).json()
    assert_answers(answer, items, 8)
    assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert upstream.seen == items


def test_narrower_vector_is_cut_and_renormalised():
    cut = vector("x", 64)[:16]
    np.testing.assert_allclose(vector("x", 16), cut / np.linalg.norm(cut), atol=1e-6)
    assert not np.allclose(vector("[1]", 16), vector([1], 16))


@pytest.mark.parametrize("body", [{"caching": True}, {"user": None}, {"encoding_format": "md5"}])
def test_unknown_fields_are_refused(upstream, body):
    assert ask(upstream, **body).status_code == 400


def test_scripted_answers_are_followed_by_good_ones(upstream):
    upstream.script(refusals.status(500), refusals.status(429, Retry_After="7"))
    answers = [ask(upstream) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [500, 429, 200]
    assert answers[1].headers["Retry-After"] == "7"
    assert API_KEY in answers[0].text


def test_connections_are_kept_and_numbered(upstream):
    with requests.Session() as session:
        ask(upstream, session)
        ask(upstream, session)
    ask(upstream)
    assert [call.connection for call in upstream.calls] == [1, 1, 2]


@pytest.mark.parametrize("stall", stalls.STALLS, ids=lambda stall: stall.__name__)
def test_stall_ends_when_the_proxy_closes(upstream, stall):
    upstream.always(stall)
    with socket.create_connection(("127.0.0.1", upstream.port)) as client:
        body = b'{"model": "m", "input": "x"}'
        client.sendall(b"POST /v1/embeddings HTTP/1.1\r\nContent-Length: 28\r\n\r\n" + body)
        (call,) = upstream.wait_for_calls(1)
        assert not call.hung_up.wait(0.1)
    assert call.hung_up.wait(20)


@pytest.mark.parametrize(
    "name", [*wrong_answers.WRONG_VECTORS, *wrong_answers.BROKEN, *wrong_answers.UNUSUAL]
)
def test_wrong_answers_are_sent_as_defined(upstream, name):
    upstream.always(
        (wrong_answers.WRONG_VECTORS | wrong_answers.BROKEN | wrong_answers.UNUSUAL)[name]
    )
    with requests.Session() as session:
        session.headers["Accept-Encoding"] = "gzip"
        try:
            with session.post(
                upstream.base_url + "/embeddings",
                json={"model": "m", "input": ["a", "b", "c"], "encoding_format": "base64"},
                timeout=20,
                stream=True,
            ) as response:
                next(response.raw.stream(100, decode_content=False), b"")
        except requests.RequestException:
            assert name in ("a closed connection", "a line that is no HTTP")
    assert len(upstream.calls) == 1


def test_closed_port_and_black_hole_do_not_answer():
    with stalls.closed_port() as url, pytest.raises(requests.ConnectionError, match="refused"):
        requests.get(url, timeout=20)
    with stalls.black_hole() as url, pytest.raises(requests.ConnectTimeout):
        requests.get(url, timeout=0.2)
