"""`caching: true`: embedded items are reused, and only for the same item."""

import itertools

import pytest

from tests.support import settings
from tests.support.server import eventually
from tests.support.vectors import assert_answers, count_tokens

fresh = (f"never seen before, number {i}" for i in itertools.count())


def states(*answers):
    return [answer.headers["x-proxy-cache"] for answer in answers]


def take(number):
    """Return texts that no test has used."""
    return list(itertools.islice(fresh, number))


def test_second_request_calls_no_provider(client, upstream):
    texts = take(3)
    first, second = (client.embed("embed", texts, caching=True) for _ in range(2))
    assert states(first, second) == ["miss", "hit"]
    assert first.text == second.text
    assert_answers(second.json, texts, 32)
    assert upstream.seen == texts
    assert first.headers["x-proxy-attempts"] == "1"
    assert second.headers["x-proxy-attempts"] == "0"


def test_only_misses_are_sent_and_put_in_their_places(client, upstream):
    texts = take(10)
    known = texts[1::3]
    client.embed("embed", known, caching=True)
    upstream.reset()
    answer = client.embed("embed", texts, caching=True)
    assert states(answer) == ["partial"]
    assert_answers(answer.json, texts, 32)
    assert upstream.seen == [text for text in texts if text not in known]


def test_usage_counts_every_item_and_the_header_cached_ones(client, upstream):
    texts = ["one " * 3, "two " * 5, "three " * 7, "four " * 11]
    alone = client.embed("embed", texts[1], caching=True)
    partial, hit = (client.embed("embed", texts, caching=True) for _ in range(2))
    off = client.embed("embed", texts)
    assert states(alone, partial, hit, off) == ["miss", "partial", "hit", "off"]
    for answer in (partial, hit, off):
        assert answer.json["usage"] == {"prompt_tokens": 26, "total_tokens": 26}
    cached = [answer.headers["x-proxy-cached-tokens"] for answer in (alone, partial, hit, off)]
    assert cached == ["0", "5", "26", "0"]


def test_duplicate_item_has_two_vectors(client, upstream):
    (text,) = take(1)
    texts = [text, "between", text, text]
    for _ in range(2):
        answer = client.embed("embed", texts, caching=True)
        assert_answers(answer.json, texts, 32)
        tokens = sum(map(count_tokens, texts))
        assert answer.json["usage"]["total_tokens"] == tokens


def test_without_caching_the_cache_is_neither_read_nor_written(client, upstream):
    (text,) = take(1)
    off = [client.embed("embed", text, **fields) for fields in ({}, {"caching": False})]
    after = client.embed("embed", text, caching=True)
    again = client.embed("embed", text)
    assert states(*off, after, again) == ["off", "off", "miss", "off"]
    assert len(upstream.calls) == 4


def test_both_encodings_share_an_entry(client, upstream):
    (text,) = take(1)
    answers = [
        client.embed("embed", text, caching=True, encoding_format=encoding)
        for encoding in ("base64", "float", "base64")
    ]
    assert states(*answers) == ["miss", "hit", "hit"]
    for answer in answers:
        assert_answers(answer.json, [text], 32)
    assert isinstance(answers[0].embeddings[0], str)
    assert isinstance(answers[1].embeddings[0], list)


def test_end_users_share_an_entry(client, upstream):
    (text,) = take(1)
    answers = [client.embed("embed", text, caching=True, user=user) for user in ("a", "b")]
    assert states(*answers) == ["miss", "hit"]


@pytest.mark.parametrize(
    "variants",
    [
        ["text", "Text", " text", "text ", "text\n", "te\u0301xt", "t\u00e9xt"],
        ["[1, 2]", [[1, 2]], "1 2", [[12]], [[1], [2]], "12"],
        [[[1, 256]], [[65537]], [[2**16, 1]], [[1, 0, 1]]],
        ["e\u0301", "\u00e9", "\u0065", "\u0435"],
    ],
    ids=["blanks and case", "text and tokens", "tokens alike in bytes", "accents"],
)
def test_similar_inputs_have_different_entries(client, upstream, variants):
    """They are embedded together first, so that each could be stored in the place of another."""
    for value in variants:
        client.embed("embed", value, caching=True)
    for value in variants:
        items = value if isinstance(value, list) else [value]
        assert_answers(client.embed("embed", value, caching=True).json, items, 32)


@pytest.mark.parametrize(
    "fields",
    [
        {"dimensions": 8},
        {"input_type": "query"},
        {"input_type": "document"},
        {"task": "clustering"},
        {"model": "floats"},
    ],
    ids=str,
)
def test_fields_that_change_the_vector_have_different_entries(client, upstream, fields):
    (text,) = take(1)
    body = {"model": "embed", "input": text, "caching": True}
    plain, other, again = (client.post(body | more) for more in ({}, fields, fields))
    assert states(plain, other, again) == ["miss", "miss", "hit"]
    width, task = fields.get("dimensions", 32), fields.get("task", "")
    for answer in (other, again):
        assert_answers(answer.json, [text], width, task)
    assert_answers(client.post(body).json, [text], 32)


def test_widths_cut_by_the_proxy_have_different_entries(client, upstream):
    (text,) = take(1)
    for _ in range(2):
        for width in (32, 16, 8):
            answer = client.embed("cut", text, caching=True, dimensions=width)
            assert_answers(answer.json, [text], width)


def test_keys_share_entries(proxy, client, steady):
    (text,) = take(1)
    other = proxy.client(settings.NARROW_KEY)
    answers = [caller.embed("steady", text, caching=True) for caller in (client, other)]
    assert states(*answers) == ["miss", "hit"]


def test_a_hit_needs_no_provider(client, upstream):
    (text,) = take(1)
    client.embed("embed", text, caching=True)
    upstream.always(lambda exchange: exchange.reply(500, {}))
    assert client.embed("embed", text, caching=True).status == 200


def test_failed_item_does_not_remove_cached_items(client, upstream, fresh):
    """A partial hit whose misses fail is an error; cached items stay cached."""
    model = fresh("embed")
    known, unknown = take(2)
    client.embed(model, known, caching=True)
    upstream.always(lambda exchange: exchange.reply(500, {}))
    assert client.embed(model, [known, unknown], caching=True, timeout=20).status == 502
    assert states(client.embed(model, known, caching=True)) == ["hit"]


def test_entries_expire(start_proxy, upstream):
    client = start_proxy(CACHE={"ttl": 2}).client()

    def state(text):
        return client.embed("embed", text, caching=True).headers["x-proxy-cache"]

    def stored():
        (text,) = take(1)
        return (state(text), state(text)) == ("miss", "hit") and text

    text = eventually(stored, what="a text that is found within its two seconds")
    eventually(lambda: state(text) == "miss")
    assert upstream.seen.count(text) == 2


def test_without_configured_cache_the_header_is_off(start_proxy, upstream):
    client = start_proxy(CACHE=None).client()
    (text,) = take(1)
    answers = [client.embed("embed", text, caching=True) for _ in range(2)]
    assert states(*answers) == ["off", "off"]
    assert len(upstream.calls) == 2


def test_scope_key_keeps_keys_apart(start_proxy, steady):
    proxy = start_proxy(CACHE={"scope": "key"})
    (text,) = take(1)
    callers = [proxy.client(), proxy.client(settings.NARROW_KEY)] * 2
    answers = [caller.embed("steady", text, caching=True) for caller in callers]
    assert states(*answers) == ["miss", "miss", "hit", "hit"]


def test_full_cache_evicts_and_still_works(start_proxy, upstream):
    client = start_proxy(CACHE={"max_bytes": 20_000}).client()
    texts = take(400)
    client.embed("embed", texts, caching=True)
    upstream.reset()
    answer = client.embed("embed", texts, caching=True)
    assert_answers(answer.json, texts, 32)
    assert states(answer) in (["partial"], ["miss"])
    assert len(upstream.seen) > 200
