"""Limits of keys and of end users over all workers, with the real server."""

import os
import threading
import time
from collections import Counter
from pathlib import Path

import openai
import pytest

from tests.e2e.limited import SECRETS, hammer
from tests.e2e.limited import counted as counted
from tests.e2e.limited import many as many
from tests.support import stalls
from tests.support.server import eventually


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

    eventually(all_ask, 20)


def test_tokens_are_settled_by_the_count(many, counted, steady):
    """The provider counts words: a tenth of the expected tokens."""
    client = many.client(SECRETS["tokens"])
    word = "w" * 40
    answers = []
    for _ in range(30):
        answers.append(client.embed("steady", [word] * 10))  # 100 expected, 10 counted
        time.sleep(0.03)  # corrections are sent after the answer
    statuses = Counter(answer.status for answer in answers)
    assert 10 <= statuses[200] <= 22  # with no correction 3, and 21 by what was counted
    assert statuses[429] == 30 - statuses[200]
    assert answers[0].headers["x-ratelimit-remaining-tokens"] == "290"
    assert answers[0].headers["x-ratelimit-limit-tokens"] == "300"


def test_limit_of_a_minute_is_a_rate_limit_error_of_the_sdk(many, counted, steady):
    client = openai.OpenAI(base_url=many.url + "/v1", api_key=SECRETS["minute"], max_retries=0)
    with client:
        for left in ("2", "1", "0"):
            answer = client.embeddings.with_raw_response.create(model="steady", input="one two")
            assert answer.headers["x-ratelimit-remaining-requests"] == left
            assert answer.headers["x-ratelimit-limit-tokens"] == "1000"
        with pytest.raises(openai.RateLimitError) as caught:
            client.embeddings.create(model="steady", input="one two")
    assert (caught.value.code, caught.value.type) == ("rate_limit_exceeded", "requests")
    assert 0 < int(caught.value.response.headers["retry-after"]) <= 121
    assert "x-should-retry" not in caught.value.response.headers


def test_sdk_does_not_retry_a_used_up_quota(many, counted, steady):
    client = openai.OpenAI(base_url=many.url + "/v1", api_key=SECRETS["day"], max_retries=5)
    with client:
        client.embeddings.create(model="steady", input="w " * 18)
        start = time.monotonic()
        eventually(lambda: _code(client) == "insufficient_quota")
        assert time.monotonic() - start < 1
        assert len(steady.calls) == 1


def _code(client):
    with pytest.raises(openai.RateLimitError) as caught:
        client.embeddings.create(model="steady", input="w " * 30)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert "It resets at 20" in caught.value.message
    assert 0 < int(caught.value.response.headers["retry-after"]) <= 86_400
    assert caught.value.type == caught.value.code
    return caught.value.code


def test_end_users_have_their_own_limits(many, counted, steady):
    client = many.client(SECRETS["users"])
    for user in ("a", "b", None):
        answers = [client.embed("steady", "one", user=user) for _ in range(3)]
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
    upstream.always(stalls.silence)
    model, answers = fresh("embed"), []

    def ask():
        answers.append(many.client(SECRETS["few"]).embed(model, "one", timeout=2))

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(answers) == 9)  # the others wait for the provider
    assert {answer.status for answer in answers} == {429}
    assert {answer.error["code"] for answer in answers} == {"rate_limit_exceeded"}
    assert {answer.headers["retry-after"] for answer in answers} == {"1"}
    assert many.client(SECRETS["free"]).embed("steady", "one").status == 200
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers[9:]] == [504] * 3
    upstream.reset()
    assert many.client(SECRETS["few"]).embed("steady", "one").status == 200


def test_a_request_that_follows_another_is_not_concurrent(many, counted, steady):
    """Each may reach another worker, over a connection of its own."""
    for _ in range(60):
        assert many.client(SECRETS["one"]).embed("steady", "one").status == 200
