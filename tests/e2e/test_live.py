"""What the console shows live, of two real workers: the same from either, also after a reload."""

import os
import signal
import time
from functools import cache
from itertools import chain

import pytest

from tests.support import settings
from tests.support.console_session import session_cookie
from tests.support.server import Proxy, at_once, eventually
from tests.support.upstream import Upstream

WORKERS = 2
ADMIN = "sk-admin"


def refuse(exchange):
    exchange.reply(503, {"error": {"message": "not now"}})


@pytest.fixture(scope="module")
def provider():
    with Upstream(settings.WIDTH) as upstream:
        yield upstream


@pytest.fixture(scope="module", params=["gevent", "gthread"])
def served(request, tmp_path_factory, provider):
    """A proxy with two workers, and the parent of the directory that they share."""
    directory, place = (tmp_path_factory.mktemp(name) for name in ("proxy", "p"))
    path = settings.settings_file(
        directory,
        {
            "p": settings.provider(provider, max_inputs=4),
            "free": settings.provider(provider),
        },
        {
            "embed": {
                "dimensions": settings.WIDTH,
                "deployments": [
                    {"provider": "p", "model": "upstream-model", "price_per_million_tokens": 1.0}
                ],
            },
            "other": settings.model("free"),
        },
        {
            "tests": settings.KEYS["tests"],
            "narrow": settings.key(settings.NARROW_KEY, "other"),
            "admin": {**settings.key(ADMIN, "*"), "admin": True},
        },
        CACHE={"ttl": 600, "max_bytes": 2**24},
    )
    arguments = ("--worker-tmp-dir", str(place))
    with Proxy(
        directory, path, worker_class=request.param, workers=WORKERS, arguments=arguments
    ) as proxy:
        proxy.place = place
        eventually(lambda: len(now(proxy)["workers"]["answered"]) == WORKERS, 60)
        yield proxy


@pytest.fixture(autouse=True)
def _good_answers(provider):
    provider.reset()


@cache
def cookie(proxy, key):
    """The session of a key, which both workers take."""
    return session_cookie(proxy.client(key))


def ask(proxy, path, key=ADMIN):
    return proxy.client(None).get(f"/console/api/{path}", Cookie=cookie(proxy, key))


def now(proxy, query=""):
    """Return the figures of all workers: one that does not answer within 0.25 s is left out."""

    def figures():
        answer = ask(proxy, f"now{query}")
        assert answer.status == 200, answer.text
        return answer.json if not answer.json["workers"]["silent"] else None

    return eventually(figures, what="an answer of all workers")


def found_requests(proxy, request_id, key=ADMIN):
    """Return the requests with an id as each worker finds them: the same."""

    def found():
        answers = at_once(lambda: ask(proxy, f"requests/{request_id}", key), 8)
        if any(answer.status != 200 or answer.json["workers"]["silent"] for answer in answers):
            return None
        first = answers[0].json["data"]
        assert all(answer.json["data"] == first for answer in answers)
        return first

    return eventually(found, what=f"the requests {request_id} as all workers find them")


def calls(request):
    return [step for step in request["steps"] if step["step"] == "call"]


def test_split_request(served):
    texts = [f"split {i}" for i in range(10)]
    assert served.client().embed("embed", texts, user="u").status == 200
    answer = served.client().post({"model": "embed", "input": texts}, x_request_id="split")
    (request,) = found_requests(served, answer.headers["x-request-id"])
    made = calls(request)
    assert sorted(tuple(step["items"]) for step in made) == [(0, 4), (4, 8), (8, 10)]
    assert {step["result"] for step in made} == {"vectors"}
    assert (request["key"], request["status"], request["items"]) == ("tests", 200, 10)
    assert request["worker"] in served.workers()
    times = [(step["from_ms"], step["to_ms"]) for step in request["steps"]]
    assert all(0 <= begin <= end <= request["total_ms"] + 0.1 for begin, end in times)
    assert "split 3" not in str(request)


def test_retried_request(served, provider):
    provider.script(refuse)
    answer = served.client().post({"model": "embed", "input": "again"}, x_request_id="retried")
    assert answer.status == 200
    (request,) = found_requests(served, "retried")
    assert [(step["reason"], step["result"]) for step in calls(request)] == [
        ("first", "unavailable"),
        ("retry", "vectors"),
    ]
    assert request["attempts"] == 2


def test_cached_request(served):
    body = {"model": "embed", "input": "cached text", "caching": True}

    def hit():
        answer = served.client().post(body, x_request_id=f"hit-{time.monotonic_ns()}")
        found = answer.headers["x-proxy-cache"] == "hit"
        return found and answer.headers["x-request-id"]

    (request,) = found_requests(served, eventually(hit))
    assert [step["step"] for step in request["steps"]] == ["read", "lookup"]
    assert (request["cache"], request["attempts"]) == ("hit", 0)
    assert request["cached_tokens"] == request["tokens"] > 0


def test_refused_request(served):
    answer = served.client().embed("unknown", "a")
    (request,) = found_requests(served, answer.headers["x-request-id"])
    assert (request["status"], request["code"], request["side"]) == (
        404,
        "model_not_found",
        "caller",
    )
    answer = served.client("wrong").embed("embed", "a")
    (request,) = found_requests(served, answer.headers["x-request-id"])
    assert (request["status"], request["code"], request["key"]) == (401, "invalid_api_key", None)


def test_key_sees_its_own_requests_only(served):
    answer = served.client().post({"model": "embed", "input": "a"}, x_request_id="of/tests")
    assert found_requests(served, "of/tests", settings.KEY)[0]["key"] == "tests"
    assert ask(served, "requests/of/tests", settings.NARROW_KEY).status == 404
    assert ask(served, "now", settings.KEY).status == 403
    for path in ("requests/of/tests", "now"):
        stranger = served.client(ADMIN).get(f"/console/api/{path}")
        assert (stranger.status, stranger.error["code"]) == (401, "invalid_api_key")
    assert answer.status == 200


def test_figures_are_those_of_all_workers(served):
    before = now(served)["figures"]["requests_hour"]
    for i in range(30):
        assert served.client().embed("other", f"text {i}").status == 200
    found = now(served)
    for _ in range(8):
        assert now(served)["figures"]["requests_hour"] == before + 30
    figures = found["figures"]
    assert figures["requests_per_second"] > 0
    assert 0 < figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"] < 60_000
    assert figures["spent_today_dollars"] > 0
    models = {model["model"]: model["deployments"] for model in found["models"]}
    assert models["other"][0]["workers_by_state"] == {"ok": WORKERS}
    assert models["other"][0]["state"] == "ok"
    assert models["other"][0]["calls_hour"] >= 30
    assert models["other"][0]["failed_hour"] == 0


def test_series_of_a_poll_continue_those_before(served):
    first = now(served)
    assert first["series"]["size"] == 719
    second = now(served, f"?since={first['until']}")
    assert second["series"]["size"] * 5 == second["until"] - first["until"]
    assert second["series"]["first"] == first["until"]
    for wrong in ("x", "nan", "inf"):
        assert ask(served, f"now?since={wrong}").status == 400


def test_killed_worker_is_left_out(served):
    victim, other = served.workers()
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: victim not in chain(*now(served)["workers"].values()))
    eventually(lambda: not list(served.place.glob(f"*/live-{victim}.sock")))
    eventually(lambda: len(now(served)["workers"]["answered"]) == WORKERS, 60)
    assert other in now(served)["workers"]["answered"]


def test_reload_keeps_figures_and_requests_and_makes_a_mark(served):
    served.client().post({"model": "embed", "input": "a"}, x_request_id="before")
    before, old = now(served), set(served.workers())
    began = time.time()
    served.process.send_signal(signal.SIGHUP)
    eventually(lambda: not old & set(served.workers()) and len(served.workers()) == WORKERS, 60)
    eventually(lambda: set(now(served)["workers"]["answered"]) == set(served.workers()))
    after = now(served)
    assert after["figures"]["requests_hour"] == before["figures"]["requests_hour"]
    assert after["figures"]["spent_today_dollars"] == before["figures"]["spent_today_dollars"]
    assert sum(after["series"]["requests"]) >= sum(before["series"]["requests"])
    reloads = [mark["at"] for mark in after["marks"] if mark["kind"] == "reloaded"]
    assert len(reloads) == 1
    assert began - 1 <= reloads[0] <= time.time()
    (request,) = found_requests(served, "before")
    assert request["worker"] is None
    assert len(list(served.place.glob("*/live-*.sock"))) == WORKERS
