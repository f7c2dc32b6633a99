"""Wrong answers of a provider reach neither a client nor the cache."""

import json
import threading
from contextlib import suppress

import pytest

from tests.support import refusals, stalls
from tests.support.server import eventually
from tests.support.upstream import Upstream, good
from tests.support.vectors import assert_answers, count_tokens
from tests.support.wire import head
from tests.support.wrong_answers import BROKEN, UNUSUAL, WRONG_VECTORS

TEXTS = ["first", "second one", "third of all"]


def assert_refused(answer):
    assert (answer.status, answer.error["code"]) == (502, "upstream_error"), answer.text
    assert answer.error["param"] is None


def assert_good(answer, texts=TEXTS):
    assert answer.status == 200, answer.text
    assert_answers(answer.json, texts, 32)


@pytest.fixture
def model(fresh):
    """A model without failures so far."""
    return fresh("embed")


def once_it_is_asked_again(ask):
    """Return the answer once the failed provider is called again (before: 503)."""
    return eventually(lambda: (answer := ask()).status != 503 and answer)


@pytest.mark.parametrize("kind", ["embed", "floats"])
@pytest.mark.parametrize("name", WRONG_VECTORS)
def test_wrong_vectors_reach_neither_the_client_nor_the_cache(client, upstream, fresh, name, kind):
    model = fresh(kind)
    upstream.always(WRONG_VECTORS[name])
    assert_refused(client.embed(model, TEXTS, caching=True, timeout=20))

    upstream.always(good)
    answer = client.embed(model, TEXTS, caching=True)
    assert_good(answer)
    assert answer.headers["x-proxy-cache"] == "miss"


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_reaches_neither_the_client_nor_the_cache(client, upstream, model, name):
    upstream.always(BROKEN[name])
    assert_refused(client.embed(model, TEXTS, caching=True, timeout=20))

    upstream.always(good)
    answer = once_it_is_asked_again(lambda: client.embed(model, TEXTS, caching=True))
    assert_good(answer)
    assert answer.headers["x-proxy-cache"] == "miss"


@pytest.mark.parametrize("encoding", ["base64", "float"])
@pytest.mark.parametrize("oddity", UNUSUAL)
def test_unusual_valid_answer_is_accepted(client, upstream, model, oddity, encoding):
    upstream.always(UNUSUAL[oddity])
    answer = client.embed(model, TEXTS, encoding_format=encoding)
    assert_good(answer)
    assert answer.json["usage"]["prompt_tokens"] > 0


def test_a_shuffled_answer_fills_the_cache_in_the_right_order(client, upstream, model):
    upstream.always(UNUSUAL["data in another order"])
    texts = [f"shuffled {i}" for i in range(20)]
    for state in ("miss", "hit"):
        answer = client.embed(model, texts, caching=True)
        assert answer.headers["x-proxy-cache"] == state
        assert_good(answer, texts)
    assert_good(client.embed(model, texts[7], caching=True), texts[7:8])


def test_width_is_checked_against_dimensions(client, upstream, model):
    """A provider that ignores `dimensions` cannot serve a request with them."""

    def deaf(exchange):
        exchange.call.body.pop("dimensions")
        good(exchange)

    upstream.always(deaf)
    answer = client.embed(model, "x", dimensions=8)
    # The proxy may cut it, because the model is a matryoshka model.
    assert_answered_or_refused(answer, ["x"], 8)


def assert_answered_or_refused(answer, texts, width=32):
    if answer.status == 200:
        assert_answers(answer.json, texts, width)
    else:
        assert_refused(answer)


def assert_no_other_answer(client, model):
    others = ["quite", "other", "texts"]
    assert_answered_or_refused(client.embed(model, others), others)


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
        assert is_answered.wait(20)
        with suppress(OSError):  # the proxy may have hung up
            good(exchange)
        has_sent_both.set()

    upstream.script(twice)
    assert_good(client.embed(model, TEXTS))
    is_answered.set()
    assert has_sent_both.wait(20)
    assert_no_other_answer(client, model)


def test_closed_idle_connection_fails_no_request(client, upstream, model):
    """Providers close idle connections without notice."""

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
def test_provider_is_sent_only_fields_it_knows(client, upstream, model, sent):
    """No nulls, no fields of the proxy, and the encoding of the settings."""
    fields = {"timeout": 9, "caching": True, "input_type": "query", "user": "u", "dimensions": None}
    assert_good(client.embed(model, TEXTS, encoding_format="float", **fields))
    (call,) = upstream.calls
    encoding = {"encoding_format": sent} if sent else {}
    assert call.body == {"model": "upstream-model", "input": TEXTS, **encoding}
    assert "proxy-of-the-tests" not in str(call.headers)
    assert call.headers["authorization"] == f"Bearer {upstream.api_key}"


def test_user_is_sent_if_configured(client, upstream):
    client.embed("naming", "x", user="someone")
    assert upstream.calls[0].body["user"] == "someone"


def test_tokens_reach_the_provider_as_tokens(client, upstream, model):
    answer = client.embed(model, [[1, 2], [3]])
    assert_answers(answer.json, [[1, 2], [3]], 32)
    assert upstream.calls[0].body["input"] == [[1, 2], [3]]
    assert answer.json["usage"]["prompt_tokens"] == 3 == count_tokens([1, 2]) + count_tokens([3])


def test_unknown_interim_answer_is_skipped(client, upstream, model):
    def hints(exchange):
        exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        good(exchange)

    upstream.always(hints)
    answer = client.embed(model, TEXTS)
    assert_answered_or_refused(answer, TEXTS)


def test_endless_headers_are_a_failure_of_the_provider(client, upstream, model):
    def chatty(exchange):
        exchange.send(head(200, {f"X-{i}": "y" * 1000 for i in range(500)}))

    upstream.always(chatty)
    assert_refused(client.embed(model, "x", timeout=20))
