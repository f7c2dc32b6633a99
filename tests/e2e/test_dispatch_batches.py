"""Many small requests share few calls, and a large request is split into several calls.

Over real sockets, with the real server. Each test has its own provider at one proxy.
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from tests.e2e.batches import (
    WAITING,
    assert_each_its_own,
    held,
    most_at_once,
    outstanding,
    single,
    texts,
    together,
)
from tests.e2e.batches import at as at
from tests.e2e.batches import proxy as proxy
from tests.e2e.batches import upstreams as upstreams
from tests.support import refusals, settings
from tests.support.server import eventually
from tests.support.upstream import good
from tests.support.vectors import assert_answers, count_tokens


def test_sixty_four_single_texts_share_eight_calls(at):
    """Four slots are taken at once; later requests share calls."""
    client, upstream = at("merged")
    items = texts("cold", 64)
    with ThreadPoolExecutor(64) as pool, held(upstream, 4):
        answers = [pool.submit(client.embed, "merged", x) for x in items]
        eventually(lambda: outstanding(client, "merged") == 64)
        assert len(upstream.calls) <= 4
    assert_each_its_own([a.result() for a in answers], items)
    assert sorted(upstream.seen) == sorted(items)
    assert len(upstream.calls) <= 8


def test_merged_requests_share_a_call_and_have_their_own_usage(at):
    client, upstream = at("single")
    items = texts("waits", 30)
    with ThreadPoolExecutor(31) as pool, held(upstream, 1):
        first = pool.submit(client.embed, "single", "first")
        upstream.wait_for_calls(1)
        waiting = [pool.submit(client.embed, "single", x) for x in items]
        eventually(lambda: outstanding(client, "single") == 31)
    assert_each_its_own([w.result() for w in waiting], items)
    assert first.result().status == 200
    assert len(upstream.calls) == 2
    assert Counter(upstream.seen) == Counter(["first", *items])
    billed = [w.result().json["usage"]["prompt_tokens"] for w in waiting]
    assert sum(billed) == sum(map(count_tokens, items))  # exactly the count of the provider
    assert max(billed) <= 2 * max(map(count_tokens, items))


def test_only_compatible_requests_are_merged(at):
    client, upstream = at("single")
    kinds = [
        {},
        {"dimensions": 16},
        {"dimensions": 8},
        {"task": "query"},
        {"input_type": "query"},
    ]
    with ThreadPoolExecutor(31) as pool, held(upstream, 1):
        pool.submit(client.embed, "single", "first")
        upstream.wait_for_calls(1)
        waiting = [
            (kind, item, pool.submit(client.embed, "single", item, **kind))
            for i, kind in enumerate(kinds * 4)
            for item in [f"agree {i}" if i % 2 else [i + 1, 7]]
        ]
        eventually(lambda: outstanding(client, "single") == 21)
    for kind, item, answer in waiting:
        width = kind.get("dimensions", settings.WIDTH)
        assert_answers(answer.result().json, [item], width, kind.get("task", ""))
    for call in upstream.calls[1:]:
        assert len({type(item) for item in call.items}) == 1
    assert len(upstream.calls) == 1 + 2 * len(kinds)


def test_without_merging_each_request_has_its_call(at):
    client, upstream = at("apart")
    upstream.always(refusals.delayed(0.02, good))
    items = texts("apart", 24)
    assert_each_its_own(together([single(client, "apart", x) for x in items]), items)
    assert [len(call.items) for call in upstream.calls] == [1] * 24
    assert most_at_once(upstream, 0.02) <= 4


def test_refused_merged_call_fails_only_the_bad_request(at):
    client, upstream = at("single")

    def strict(exchange):
        bad = [item for item in exchange.call.items if "bad" in item]
        (refusals.status(400, f"refused: {bad[0]}") if bad else good)(exchange)

    items = [f"bad {i}" if i in (5, 17) else f"fine {i}" for i in range(30)]
    with ThreadPoolExecutor(31) as pool, held(upstream, 1):
        pool.submit(client.embed, "single", "first")
        upstream.wait_for_calls(1)
        upstream.always(strict)
        answers = [pool.submit(client.embed, "single", x) for x in items]
        eventually(lambda: outstanding(client, "single") == 31)
    for item, answer in zip(items, (a.result() for a in answers), strict=True):
        if "bad" in item:
            assert answer.status == 400
            assert answer.error["message"] == f"refused: {item}"  # not that of the other
        else:
            assert_answers(answer.json, [item], settings.WIDTH)
    assert len(upstream.calls) <= 2 + 2 * 2 * 5  # by bisection, not one by one


@pytest.mark.parametrize(
    ("model", "inputs", "calls"), [("openai", 5000, 3), ("cohere", 1000, 11), ("cohere", 8192, 86)]
)
def test_large_request_is_split_into_the_fewest_parts(at, model, inputs, calls):
    client, upstream = at(model)
    items = texts("part", inputs)
    answer = client.embed(model, items, encoding_format="base64")
    assert_answers(answer.json, items, settings.WIDTH)
    assert answer.json["usage"]["prompt_tokens"] == sum(map(count_tokens, items))
    assert len(upstream.calls) == calls
    assert Counter(upstream.seen) == Counter(items)


def test_request_over_max_tokens_is_split(at):
    client, upstream = at("counted")
    items = [[i] * 30 for i in range(1, 11)]
    assert_answers(client.embed("counted", items).json, items, settings.WIDTH)
    assert sorted(len(call.items) for call in upstream.calls) == [1, 3, 3, 3]


def test_only_the_failed_part_of_a_large_request_is_repeated(at):
    client, upstream = at("cohere")
    upstream.script(good, refusals.status(503), good)
    items = texts("repeat", 500)
    answer = client.embed("cohere", items, encoding_format="base64")
    assert_answers(answer.json, items, settings.WIDTH)
    assert len(upstream.calls) == 7
    assert len(upstream.seen) <= 500 + 96


def test_refused_part_fails_the_request(at):
    client, upstream = at("cohere")
    upstream.script(good, refusals.status(400, "no such task"))
    answer = client.embed("cohere", texts("refused", 300))
    assert (answer.status, answer.error["message"]) == (400, "no such task")


def test_too_large_part_is_sent_in_smaller_parts(at):
    """Four calls, and in the place of the refused one its largest item, then the others."""
    client, upstream = at("cohere")
    upstream.script(good, refusals.status(413, "too large"))
    items = texts("halved", 300)
    answer = client.embed("cohere", items, encoding_format="base64")
    assert_answers(answer.json, items, settings.WIDTH)
    assert 6 <= len(upstream.calls) <= 8


def test_same_text_of_64_callers_is_embedded_once(at):
    client, upstream = at("cached")
    upstream.always(refusals.delayed(0.1, good))
    requests = [single(client, "cached", "the same", caching=True)] * 64
    assert_each_its_own(together(requests), ["the same"] * 64)
    assert upstream.seen == ["the same"]


def test_repeated_text_in_one_request_is_embedded_once(at):
    client, upstream = at("cached")
    items = ["echo", "other", "echo", "echo"]
    answer = client.embed("cached", items, caching=True)
    assert_answers(answer.json, items, settings.WIDTH)
    assert sorted(upstream.seen) == ["echo", "other"]


def test_caller_with_short_timeout_does_not_fail_other_callers(at, proxy):
    numbers = count()

    def all_were_there_in_time():
        client, upstream = at("cached")
        text = f"patience {next(numbers)}"
        with ThreadPoolExecutor(8) as pool, held(upstream, 1):
            hurried = pool.submit(client.embed, "cached", text, caching=True, timeout=2)
            upstream.wait_for_calls(1)
            patient = [pool.submit(client.embed, "cached", text, caching=True) for _ in range(6)]
            eventually(lambda: proxy.in_flight() == 7 or hurried.done())
            in_time = not hurried.done()
            assert hurried.result().status == 504
        assert_each_its_own([p.result() for p in patient], [text] * 6)
        return in_time and upstream.seen == [text]

    eventually(all_were_there_in_time)


def test_full_queue_refuses_at_once_and_serves_the_others(at):
    """Two are in flight and the queue is full: the others are refused at once."""
    client, upstream = at("full")
    items = texts("crowd", 2 + WAITING)
    with ThreadPoolExecutor(len(items)) as pool, held(upstream, 2):
        served = [pool.submit(client.embed, "full", x) for x in items]
        eventually(lambda: outstanding(client, "full") == len(items))
        refused = together([single(client, "full", "one too many")] * 30)
        assert client.embed("openai", "live traffic").status == 200
    for answer in refused:
        assert (answer.status, answer.error["code"]) == (503, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1
    assert sorted(a.seconds for a in refused)[15] < 10  # the others wait for the provider
    assert_each_its_own([a.result() for a in served], items)
    assert client.embed("full", "and afterwards").status == 200
