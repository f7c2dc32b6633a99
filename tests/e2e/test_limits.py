"""Limits of keys and of end users over all workers, with the real server."""

import os
import threading
import time
from collections import Counter
from pathlib import Path

import openai
import pytest

from tests.e2e.limited import SECRETS, hammer, in_one_minute
from tests.e2e.limited import counted as counted
from tests.e2e.limited import many as many
from tests.support import stalls
from tests.support.server import eventually
from tests.support.upstream import good


def asks(pid, port):
    """Return whether a process is connected to this port of the loopback address."""
    lines = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{line[9]}]" for line in lines if line[2].endswith(f":{port:04X}")}
    open_now = Path(f"/proc/{pid}/fd").iterdir()  # a descriptor may be closed before it is read
    return not sockets.isdisjoint(os.path.realpath(fd).rpartition("/")[2] for fd in open_now)


@pytest.mark.parametrize("key", ["exact", "long"])
def test_limit_is_exact_over_four_workers(many, counted, steady, key):
    statuses, seconds = hammer(many, key, 480)
    assert statuses.keys() == {200, 429}
    # Where a minute began meanwhile, the window has moved by as much; that of a month has not.
    moved = 300 * seconds / 60 if key == "exact" else 0
    assert 300 * 0.99 <= statuses[200] <= 300 * 1.01 + moved

    def all_ask():
        many.client(SECRETS[key]).embed("steady", "one")  # over a connection of its own
        return all(asks(pid, counted.port) for pid in many.workers())

    eventually(all_ask, 60)


def test_tokens_are_settled_by_the_count(many, counted, steady):
    """The provider counts words: a tenth of the expected tokens."""
    client = many.client(SECRETS["tokens"])
    word, answers, began = "w" * 40, [], time.monotonic()

    def is_served():
        answers.append(client.embed("steady", [word] * 10))  # 100 expected, 10 counted
        return answers[-1].status == 200

    for _ in range(15):  # corrections are sent after the answer; with none, 3 would be served
        eventually(is_served, 10)
    for _ in range(30):
        is_served()
    statuses = Counter(answer.status for answer in answers)
    # 21 by what was counted, and one for each two seconds in which the window has moved.
    assert statuses[200] <= 22 + (time.monotonic() - began) / 2
    assert statuses.keys() == {200, 429}
    assert answers[0].headers["x-ratelimit-remaining-tokens"] == "290"
    assert answers[0].headers["x-ratelimit-limit-tokens"] == "300"


def test_limit_of_a_minute_is_a_rate_limit_error_of_the_sdk(many, counted, steady):
    client = openai.OpenAI(base_url=many.url + "/v1", api_key=SECRETS["minute"], max_retries=0)

    def ask():
        try:
            raw = client.embeddings.with_raw_response
            return raw.create(model="steady", input="one two").headers
        except openai.RateLimitError as error:
            return error

    with client:
        *served, refused = in_one_minute(counted, lambda: [ask() for _ in range(4)])
    assert [headers["x-ratelimit-remaining-requests"] for headers in served] == ["2", "1", "0"]
    assert {headers["x-ratelimit-limit-tokens"] for headers in served} == {"1000"}
    assert (refused.code, refused.type) == ("rate_limit_exceeded", "requests")
    assert 0 < int(refused.response.headers["retry-after"]) <= 121
    assert "x-should-retry" not in refused.response.headers


def test_sdk_does_not_retry_a_used_up_quota(many, counted, steady):
    client = openai.OpenAI(base_url=many.url + "/v1", api_key=SECRETS["day"], max_retries=5)
    with client:
        client.embeddings.create(model="steady", input="w " * 18)
        with pytest.raises(openai.RateLimitError) as caught:
            client.embeddings.create(model="steady", input="w " * 30)
    error = caught.value
    assert (error.code, error.type) == ("insufficient_quota", "insufficient_quota")
    assert error.response.headers["x-should-retry"] == "false"
    assert "It resets at 20" in error.message
    assert 0 < int(error.response.headers["retry-after"]) <= 86_400
    assert error.response.request.headers["x-stainless-retry-count"] == "0"
    assert len(steady.calls) == 1


def test_end_users_have_their_own_limits(many, counted, steady):
    client = many.client(SECRETS["users"])

    def ask(user):
        return [client.embed("steady", "one", user=user) for _ in range(3)]

    for answers in in_one_minute(counted, lambda: [ask(user) for user in ("a", "b", None)]):
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert "of this end user" in answers[2].error["message"]


def test_a_key_without_limits_has_no_headers(many, counted, steady):
    headers = many.client(SECRETS["free"]).embed("steady", "one").headers
    assert not [name for name in headers if name.startswith("x-ratelimit")]


def test_failed_request_costs_no_tokens(many, counted, upstream, fresh):
    upstream.always(lambda exchange: exchange.reply(400, {"error": {"message": "no"}}))
    client = many.client(SECRETS["tokens"])
    model = fresh("embed")
    for _ in range(6):  # taken for 100 each
        eventually(lambda: client.embed(model, "w" * 400).status == 400)
    left = "x-ratelimit-remaining-tokens"
    eventually(lambda: client.embed(model, "w" * 400).headers[left] == "300")


def test_concurrent_requests_are_limited_over_all_workers(many, counted, upstream, fresh):
    go = threading.Event()

    def hold(exchange):
        go.wait(60)
        good(exchange)

    upstream.always(hold)
    model, answers = fresh("embed"), []

    def ask():
        answers.append(many.client(SECRETS["few"]).embed(model, "one"))

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: len(answers) == 9)  # the others wait for the provider
        assert many.client(SECRETS["free"]).embed("steady", "one").status == 200
    finally:
        go.set()
        for thread in threads:
            thread.join()
    refused, served = answers[:9], answers[9:]
    assert {answer.status for answer in refused} == {429}
    assert {answer.error["code"] for answer in refused} == {"rate_limit_exceeded"}
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert [answer.status for answer in served] == [200] * 3
    upstream.always(stalls.silence)
    late = [many.client(SECRETS["few"]).embed(model, "one", timeout=1) for _ in range(4)]
    assert [answer.status for answer in late] == [504] * 4  # each one's place is free again
    upstream.reset()
    assert many.client(SECRETS["few"]).embed("steady", "one").status == 200


def test_a_request_that_follows_another_is_not_concurrent(many, counted, steady):
    """Each may reach another worker, over a connection of its own."""
    for _ in range(60):
        assert many.client(SECRETS["one"]).embed("steady", "one").status == 200
