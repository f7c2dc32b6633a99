"""A provider that lies is caught: no client gets, and no cache keeps, a wrong vector."""

import json
import threading
from contextlib import suppress

import pytest

from tests.support import refusals, stalls
from tests.support.lies import BROKEN, LIES, ODDITIES
from tests.support.server import eventually
from tests.support.upstream import Upstream, good
from tests.support.vectors import assert_answers, count_tokens
from tests.support.wire import head

TEXTS = ["first", "second one", "third of all"]


def assert_refused(answer):
    assert (answer.status, answer.error["code"]) == (502, "upstream_error"), answer.text
    assert answer.error["param"] is None


def assert_good(answer, texts=TEXTS):
    assert answer.status == 200, answer.text
    assert_answers(answer.json, texts, 32)


@pytest.fixture
def model(fresh):
    """A model that has not failed yet."""
    return fresh("embed")


def once_it_is_asked_again(ask):
    """The answer when the proxy no longer leaves its failed provider alone (503)."""
    return eventually(lambda: (answer := ask()).status != 503 and answer)


@pytest.mark.parametrize("kind", ["embed", "floats"])
@pytest.mark.parametrize("lie", LIES)
def test_a_lie_reaches_neither_the_client_nor_the_cache(client, upstream, fresh, lie, kind):
    model = fresh(kind)
    upstream.always(LIES[lie])
    assert_refused(client.embed(model, TEXTS, caching=True, timeout=5))

    upstream.always(good)
    answer = client.embed(model, TEXTS, caching=True)
    assert_good(answer)
    assert answer.headers["x-proxy-cache"] == "miss"


@pytest.mark.parametrize("lie", BROKEN)
def test_a_broken_answer_reaches_neither_the_client_nor_the_cache(client, upstream, model, lie):
    upstream.always(BROKEN[lie])
    assert_refused(client.embed(model, TEXTS, caching=True, timeout=5))

    upstream.always(good)
    answer = once_it_is_asked_again(lambda: client.embed(model, TEXTS, caching=True))
    assert_good(answer)
    assert answer.headers["x-proxy-cache"] == "miss"


@pytest.mark.parametrize("encoding", ["base64", "float"])
@pytest.mark.parametrize("oddity", ODDITIES)
def test_an_unusual_truth_is_understood(client, upstream, model, oddity, encoding):
    upstream.always(ODDITIES[oddity])
    answer = client.embed(model, TEXTS, encoding_format=encoding)
    assert_good(answer)
    assert answer.json["usage"]["prompt_tokens"] > 0


def test_a_shuffled_answer_fills_the_cache_in_the_right_order(client, upstream, model):
    upstream.always(ODDITIES["data in another order"])
    texts = [f"shuffled {i}" for i in range(20)]
    for state in ("miss", "hit"):
        answer = client.embed(model, texts, caching=True)
        assert answer.headers["x-proxy-cache"] == state
        assert_good(answer, texts)
    assert_good(client.embed(model, texts[7], caching=True), texts[7:8])


def test_a_width_is_checked_against_the_one_asked_for(client, upstream, model):
    """A provider that ignores `dimensions` is no good for a request that needs them."""

    def deaf(exchange):
        exchange.call.body.pop("dimensions")
        good(exchange)

    upstream.always(deaf)
    answer = client.embed(model, "x", dimensions=8)
    if answer.status == 200:  # the proxy may cut it itself, for the model is a matryoshka
        assert_answers(answer.json, ["x"], 8)
    else:
        assert_refused(answer)


def assert_no_other_answer(client, model):
    others = ["quite", "other", "texts"]
    answer = client.embed(model, others)
    if answer.status == 200:
        assert_answers(answer.json, others, 32)
    else:
        assert_refused(answer)


def test_second_answer_in_the_same_bytes_is_not_the_next_requests(client, upstream, model):
    def twice(exchange):
        body = json.dumps(exchange.answer()).encode()
        exchange.send((head(200, {"Content-Length": str(len(body))}) + body) * 2)

    upstream.script(twice)
    assert_good(client.embed(model, TEXTS))
    assert_no_other_answer(client, model)


def test_second_answer_on_an_idle_connection_is_not_the_next_requests(client, upstream, model):
    """It came before the next request was sent, so it cannot be its answer (RFC 9112, 9.2).

    A second answer that comes after that looks like the right one to every HTTP/1.1 client.
    """
    is_answered, has_sent_both = threading.Event(), threading.Event()

    def twice(exchange):
        good(exchange)
        assert is_answered.wait(10)
        with suppress(OSError):  # the proxy may have hung up
            good(exchange)
        has_sent_both.set()

    upstream.script(twice)
    assert_good(client.embed(model, TEXTS))
    is_answered.set()
    assert has_sent_both.wait(10)
    assert_no_other_answer(client, model)


def test_a_connection_that_was_closed_meanwhile_fails_no_request(client, upstream, model):
    """Providers close idle connections without a word."""

    def leave(exchange):
        good(exchange)
        exchange.last = True

    for i in range(5):
        upstream.always(leave)
        assert_good(client.embed(model, f"text {i}"), [f"text {i}"])


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(client, upstream, model, code):
    with Upstream(32) as elsewhere:
        upstream.always(refusals.redirect(f"{elsewhere.base_url}/embeddings", code))
        assert_refused(client.embed(model, "secret text"))
        assert elsewhere.calls == []


@pytest.mark.parametrize("stall", [stalls.half_then_stall, stalls.never_close])
def test_half_an_answer_is_not_cached(client, upstream, model, stall):
    text = f"half of it: {stall.__name__}"
    upstream.script(stall)
    assert client.embed(model, text, caching=True, timeout=1).status == 504
    answer = client.embed(model, text, caching=True)
    assert answer.headers["x-proxy-cache"] == "miss"
    assert_good(answer, [text])


@pytest.mark.parametrize(
    ("model", "sent"), [("embed", "base64"), ("floats", "float"), ("unasked", None)]
)
def test_the_provider_is_told_only_what_it_understands(client, upstream, model, sent):
    """No nulls, no fields of ours; the encoding that the settings say."""
    fields = {"timeout": 9, "caching": True, "input_type": "query", "user": "u", "dimensions": None}
    assert_good(client.embed(model, TEXTS, encoding_format="float", **fields))
    (call,) = upstream.calls
    encoding = {"encoding_format": sent} if sent else {}
    assert call.body == {"model": "upstream-model", "input": TEXTS, **encoding}
    assert "proxy-of-the-tests" not in str(call.headers)
    assert call.headers["authorization"] == f"Bearer {upstream.api_key}"


def test_the_user_is_told_where_the_settings_say_so(client, upstream):
    client.embed("naming", "x", user="someone")
    assert upstream.calls[0].body["user"] == "someone"


def test_tokens_reach_the_provider_as_tokens(client, upstream, model):
    answer = client.embed(model, [[1, 2], [3]])
    assert_answers(answer.json, [[1, 2], [3]], 32)
    assert upstream.calls[0].body["input"] == [[1, 2], [3]]
    assert answer.json["usage"]["prompt_tokens"] == 3 == count_tokens([1, 2]) + count_tokens([3])


def test_an_interim_answer_of_another_kind(client, upstream, model):
    def hints(exchange):
        exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        good(exchange)

    upstream.always(hints)
    answer = client.embed(model, TEXTS)
    if answer.status == 200:
        assert_answers(answer.json, TEXTS, 32)
    else:
        assert_refused(answer)


def test_headers_without_end_are_a_failure_of_the_provider(client, upstream, model):
    def chatty(exchange):
        exchange.send(head(200, {f"X-{i}": "y" * 1000 for i in range(500)}))

    upstream.always(chatty)
    assert_refused(client.embed(model, "x", timeout=3))
