"""A provider replaces its model: our gunicorn, scriptable providers, Valkey and PostgreSQL."""

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from app.database.engine import Database
from app.database.migrations import migrate
from app.dispatch.drift.texts import PROBES
from tests.conftest import WORKER_CLASSES
from tests.e2e.drifting import WIDTH, Installation, Load, drifted, fresh, model_of
from tests.support.postgres import Postgres
from tests.support.server import eventually
from tests.support.upstream import Upstream

#: Seconds within which every worker must have followed, on a machine that is busy.
FOLLOWED_WITHIN = 60


def checks(*upstreams):
    """How often each was asked for the first probe text."""
    return [upstream.seen.count(PROBES[0]) for upstream in upstreams]


@pytest.fixture
def install(tmp_path) -> Iterator:
    """Makes one installation: the further settings are by name."""
    with ExitStack() as stack:
        a, b = (stack.enter_context(Upstream(WIDTH)) for _ in "ab")
        yield lambda **others: Installation(tmp_path, a, b, stack, others)


def metric(proxy, name):
    """The sum of a metric's series whose labels are in ``name``; None where there is none."""
    word, _, labels = name.partition("{")
    wanted = re.findall(r'\w+="[^"]*"', labels)
    lines = [
        line
        for line in proxy.client().get("/metrics").text.splitlines()
        if line.startswith(f"embeddings_proxy_{word}") and all(w in line for w in wanted)
    ]
    return sum(float(line.rpartition(" ")[2]) for line in lines) if lines else None


def workers_with_drift(proxy, number, provider="a"):
    """Wait until so many workers have ejected a provider for drift."""
    name = f'deployment_workers{{provider="{provider}",state="drifted"}}'
    eventually(lambda: metric(proxy, name) == number, FOLLOWED_WITHIN, name)


@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
def test_drift_in_the_middle_of_a_load(install, worker_class):
    made = install(CHECK={"every": 1, "on_drift": "eject"})
    made.record()
    proxy = made.start(worker_class=worker_class, workers=2)
    load = Load(proxy)
    eventually(lambda: min(checks(made.a, made.b)) >= 1, FOLLOWED_WITHIN)
    eventually(lambda: len(load.answers) > 50, FOLLOWED_WITHIN)
    drift_at = time.monotonic()
    made.a.always(drifted)
    workers_with_drift(proxy, 2)
    ejected_at, number = time.monotonic(), len(load.answers)
    eventually(lambda: len(load.answers) > number + 100, FOLLOWED_WITHIN)
    answers = load.stop()

    assert {status for _, _, status, *_ in answers} == {200}
    assert {m for _, end, _, m, _ in answers if end < drift_at} == {"old"}
    assert {m for start, *_, m, _ in answers if start > ejected_at} == {"old"}
    for text in [text for start, *_, text in answers if start > ejected_at][:50]:
        assert model_of(proxy.client().embed("m", text, caching=True), text) == "old"
    (line,) = [x for x in proxy.log_lines() if "has drifted" in x.get("message", "")]
    assert line["level"] == "error"
    states = {row["provider"]: row for row in proxy.client().get("/v1/providers").json["data"]}
    assert (states["a"]["state"], states["b"]["state"]) == ("drifted", "ok")
    assert states["a"]["agreement"]["has_drifted"]
    assert states["a"]["retry_in_seconds"] is None
    assert metric(proxy, 'deployment_cosine{provider="a",statistic="lowest"}') < 0.9
    assert metric(proxy, 'deployment_cosine{provider="b",statistic="lowest"}') == 1
    assert metric(proxy, 'deployment_drifted{provider="a"}') == 1

    made.a.reset()  # it agrees again
    workers_with_drift(proxy, 0)
    text = next(fresh)
    assert model_of(proxy.client().embed("m", text), text) == "old"


def test_where_all_have_drifted_callers_get_503_until_the_operator_records_anew(install):
    made = install(CHECK={"every": 1, "on_drift": "eject"})
    made.record()
    proxy = made.start()
    client = proxy.client()
    assert client.embed("m", next(fresh)).status == 200
    for upstream in (made.a, made.b):
        upstream.always(drifted)
    workers_with_drift(proxy, 1, "a")
    workers_with_drift(proxy, 1, "b")
    answer = client.embed("m", next(fresh))
    assert (answer.status, answer.error["code"]) == (503, "space_drifted")
    assert answer.headers["x-should-retry"] == "false"
    assert int(answer.headers["retry-after"]) > 0
    assert client.get("/health/ready").json["models"] == ["m"]

    made.record()
    eventually(lambda: client.embed("m", next(fresh)).status == 200, FOLLOWED_WITHIN)
    text = next(fresh)
    assert model_of(client.embed("m", text), text) == "new"


def test_answers_go_on_under_warn(install):
    made = install(CHECK={"every": 1})
    made.record()
    proxy = made.start()
    for upstream in (made.a, made.b):
        upstream.always(drifted)
    eventually(
        lambda: metric(proxy, "deployment_drifted{") == 2, FOLLOWED_WITHIN, "both have drifted"
    )
    text = next(fresh)
    assert model_of(proxy.client().embed("m", text), text) == "new"
    states = {row["state"] for row in proxy.client().get("/v1/providers").json["data"]}
    assert states == {"ok"}
    lines = [x for x in proxy.log_lines() if "has drifted" in x.get("message", "")]
    assert [line["level"] for line in lines] == ["warning"] * 2


def test_checks_are_not_in_the_usage_of_callers(install):
    made = install(CHECK={"every": 1})
    made.record()
    proxy = made.start()
    eventually(lambda: metric(proxy, 'space_checks_total{outcome="agreed"}') >= 4, FOLLOWED_WITHIN)
    assert metric(proxy, 'requests_total{route="embeddings"}') == 0
    assert metric(proxy, "items_total{") == 0
    assert metric(proxy, "billed_tokens_total{") > 0


def test_nothing_is_asked_without_a_reference_and_one_is_noticed_without_a_reload(install):
    made = install(CHECK={"every": 1})
    proxy = made.start()
    assert proxy.client().embed("m", next(fresh)).status == 200
    time.sleep(1.5)  # an interval and more
    assert checks(made.a, made.b) == [0, 0]
    assert metric(proxy, "deployment_cosine") is None
    made.record()
    eventually(lambda: min(checks(made.a, made.b)) >= 1, FOLLOWED_WITHIN)


def test_two_hosts_check_once_and_eject_alike(install, valkey):
    made = install(CHECK={"every": 3600, "on_drift": "eject"}, LIMITS={"url": valkey.url})
    made.record()
    made.a.always(drifted)
    hosts = []
    # The providers are on loopback: a host without a result of the other one checks them itself.
    for _ in range(2):
        hosts.append(made.start(workers=2))
        workers_with_drift(hosts[-1], 2)
    assert checks(made.a, made.b) == [1, 1]
    lines = [x for host in hosts for x in host.log_lines() if "has drifted" in str(x)]
    assert len(lines) == 1


def test_valkey_that_is_away_costs_a_check_of_each_host_and_no_answer(install, valkey):
    made = install(CHECK={"every": 3600, "on_drift": "eject"}, CACHE={"url": valkey.url})
    made.record()
    made.a.always(drifted)
    valkey.kill()
    try:
        hosts = [made.start() for _ in range(2)]
        for host in hosts:
            workers_with_drift(host, 1)
            assert host.client().embed("m", next(fresh), caching=True).status == 200
        assert checks(made.a, made.b) == [2, 2]
    finally:
        valkey.start()


def test_database_that_is_away_stops_no_answer_and_no_check(install):
    with Postgres() as postgres:
        url = postgres.url()
        database = Database(url)
        migrate(database.engine)
        database.close()
        made = install(
            CHECK={"every": 1, "on_drift": "eject"},
            USAGE={"url": url, "spool": f"{postgres._directory}/spool"},
        )
        made.record()
        proxy = made.start()
        eventually(lambda: min(checks(made.a, made.b)) >= 1, FOLLOWED_WITHIN)
        postgres.stop()

        def warnings():
            return [x for x in proxy.log_lines() if "the reference vectors" in str(x)]

        eventually(warnings, FOLLOWED_WITHIN)
        made.a.always(drifted)
        workers_with_drift(proxy, 1)
        for _ in range(5):
            text = next(fresh)
            assert model_of(proxy.client().embed("m", text), text) == "old"
        assert len(warnings()) == 1
        postgres.start()
        eventually(lambda: len(warnings()) == 2, FOLLOWED_WITHIN, "the database is back")
