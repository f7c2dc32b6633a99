"""Failures of one provider are hidden from callers by another one.

Over real sockets, with the real server. Each test has its own providers and models at one proxy.
"""

import signal
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from tests.dispatch.process import Fixed, provider_process
from tests.e2e.pairs import (
    CLIENTS,
    MODELS,
    USUAL,
    assert_all_served,
    earn_hedges,
    flood,
    hedges,
    pair,
    sometimes,
)
from tests.e2e.pairs import client as client
from tests.e2e.pairs import fresh as fresh
from tests.e2e.pairs import ports as ports
from tests.e2e.pairs import proxy as proxy
from tests.e2e.pairs import upstreams as upstreams
from tests.support import refusals, settings, stalls, wrong_answers
from tests.support.server import eventually
from tests.support.upstream import good
from tests.support.vectors import assert_answers


def test_no_request_fails_if_one_of_two_fails_30_percent(client, fresh):
    name, a, b = fresh
    a.always(sometimes(0.3, refusals.status(503)))
    answers = flood(client, name, 2000)
    assert_all_served(answers, name)
    items = len(a.seen) + len(b.seen)
    assert 2000 < items <= 2000 * 1.2
    assert max(int(answer.headers["x-proxy-attempts"]) for answer in answers) <= 4


def test_no_request_fails_if_one_of_two_is_killed_under_load(client, ports):
    with provider_process(ports[0]) as first, provider_process(ports[1]):
        name = "mortal"

        def ask(i):
            if i == 150:
                first.send_signal(signal.SIGKILL)
            return client.embed(name, f"{name} {i}")

        with ThreadPoolExecutor(CLIENTS) as pool:
            served = list(pool.map(ask, range(800)))
        assert_all_served(served, name)
        assert served[-1].headers["x-proxy-provider"] == "mortal-b"


def test_first_recovered_deployment_is_found(client, ports, proxy):
    dead = eventually(
        lambda: (answer := client.embed("mortal", "x")).status == 503 and answer,
        what="no provider is connected any more",
    )
    answers = [client.embed("mortal", "x") for _ in range(100)]
    for answer in [dead, *answers]:
        assert (answer.status, answer.error["code"]) == (503, "no_provider_available")
        assert 1 <= int(answer.headers["retry-after"]) <= 2
    assert sorted(a.seconds for a in answers)[50] < 0.5  # none waits for a provider
    assert client.get("/health/ready").status == 503
    with Fixed(ports[1]):
        eventually(lambda: client.embed("mortal", "x").status == 200)
        eventually(lambda: "mortal" not in client.get("/health/ready").text)


def test_dripping_deployment_is_soon_avoided(client, fresh):
    name, a, _ = fresh
    assert_all_served(flood(client, name, 100), name)  # now it is known what is usual
    a.always(stalls.drip_body)
    assert_all_served(flood(client, name, 300, 4), name)
    before = len(a.calls)
    answers = flood(client, name, 300, 4)
    assert {answer.status for answer in answers} == {200}
    assert len(a.calls) - before <= 30  # probes, of which there are few a minute


def test_silent_deployment_is_failed_over(client, fresh):
    name, a, b = fresh
    a.always(stalls.silence)
    model = f"{name}-tiers"  # the silent one is chosen first
    answer = client.embed(model, "x", timeout=12)  # it is late after half of that
    assert_answers(answer.json, ["x"], settings.WIDTH)
    assert (len(a.calls), len(b.calls)) == (1, 1)
    assert a.calls[0].hung_up.wait(20)


@pytest.mark.parametrize(
    "ill",
    [
        refusals.status(500),
        refusals.status(401),
        refusals.status(429),
        wrong_answers.WRONG_VECTORS["one embedding too few"],
        wrong_answers.WRONG_VECTORS["NaN in the bytes"],
        wrong_answers.BROKEN["half an answer"],
        wrong_answers.BROKEN["a closed connection"],
    ],
    ids=["500", "401", "429", "too few", "NaN", "half", "closed"],
)
def test_any_failure_is_failed_over(client, upstreams, ill):
    name = pair(MODELS - 1)
    a, b = upstreams[name]
    a.reset()
    b.reset()
    a.always(ill)
    assert_all_served(flood(client, f"{name}-tiers", 12, 4), f"{name}-tiers")
    assert len(b.seen) == 12


def test_deployment_with_retry_after_is_not_called(client, fresh):
    name, a, b = fresh
    a.always(refusals.status(429, Retry_After="30"))
    assert_all_served(flood(client, name, 100), name)
    assert 1 <= len(a.calls) <= CLIENTS
    assert len(b.seen) == 100


def test_deployment_that_refuses_the_key_is_ejected_and_logged(client, proxy, fresh):
    name, a, b = fresh
    a.always(refusals.status(401))
    assert_all_served(flood(client, name, 60, 1), name)
    assert len(a.calls) == 1
    assert len(b.seen) == 60

    def errors():
        lines = [x for x in proxy.log_lines() if x.get("logger") == "app.dispatch"]
        return [x for x in lines if x["level"] == "error" and f"of {name} " in x["message"]]

    (line,) = eventually(errors)
    assert "credentials" in line["message"]
    assert a.api_key not in line["message"]


def test_key_refused_by_all_is_a_502(client, fresh):
    name, a, b = fresh
    for upstream in (a, b):
        upstream.always(refusals.status(401))
    for _ in range(3):
        answer = client.embed(name, "x")
        assert (answer.status, answer.error["code"]) == (502, "upstream_error")
        assert answer.headers["x-should-retry"] == "false"
    assert len(a.calls) + len(b.calls) <= 4


def test_429_of_all_deployments_is_a_429(client, fresh):
    name, a, b = fresh
    a.always(refusals.status(429, Retry_After="200"))
    b.always(refusals.status(429, Retry_After="100"))
    for _ in range(5):
        answer = client.embed(name, "x")
        assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")
        assert 50 <= int(answer.headers["retry-after"]) <= 100
    assert (len(a.calls), len(b.calls)) == (1, 1)


def test_retries_of_sdk_and_proxy_do_not_multiply(proxy, fresh):
    """Two retries of the SDK and two of the proxy would make nine calls."""
    name, a, _ = fresh
    a.always(refusals.status(500))
    sdk = openai.OpenAI(base_url=f"{proxy.url}/v1", api_key=settings.KEY)
    with sdk, pytest.raises(openai.InternalServerError):
        sdk.embeddings.create(model=f"{name}-only", input="x")
    assert len(a.calls) <= 3


def test_only_provider_is_called_after_any_failures(client, fresh):
    name, a, _ = fresh
    a.always(refusals.status(500))
    for _ in range(6):
        assert client.embed(f"{name}-only", "x").status == 502
    a.reset()
    assert client.embed(f"{name}-only", "x").status == 200


def test_a_slow_answer_is_hedged_and_the_first_wins(client, proxy, fresh):
    name, a, b = fresh
    model, behaviours, slow = f"{name}-hedged", [], []

    def slow_once(exchange):
        (behaviours.pop() if behaviours else USUAL)(exchange)

    def very_slow(exchange):
        slow.append(exchange)
        refusals.delayed(20, good)(exchange)

    a.always(slow_once)
    b.always(slow_once)
    assert_all_served(flood(client, model, 40, 1), model)  # now it is known what is usual
    before = earn_hedges(proxy, model, lambda: client.embed(model, "x"))
    behaviours.append(very_slow)
    answer = client.embed(model, "x")
    assert_answers(answer.json, ["x"], settings.WIDTH)
    assert answer.headers["x-proxy-attempts"] == "2"
    assert hedges(proxy, model) == before + 1
    assert slow[0].call.hung_up.wait(20)  # the other call is not waited for
