"""/metrics of the real server: the same from every worker, also after workers have died."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.observability.metrics import catalog
from tests.support import refusals, settings
from tests.support.server import Proxy, eventually
from tests.support.upstream import Upstream

WORKERS = 2
KEYS = {"tests": settings.key(settings.KEY, "*")}
MODELS = {"embed": settings.model("p")}


@pytest.fixture(scope="module")
def provider():
    with Upstream(settings.WIDTH) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def served(tmp_path_factory, provider):
    """A proxy with two workers, and the parent of its metrics directory."""
    directory, place = (tmp_path_factory.mktemp(name) for name in ("proxy", "place"))
    path = settings.settings_file(
        directory,
        {"p": settings.provider(provider)},
        {"embed": settings.model("p"), "flaky": settings.model("p")},
        {**KEYS, "admin": {**settings.key("sk-admin", "*"), "admin": True}},
    )
    arguments = ("--worker-tmp-dir", str(place))
    with Proxy(directory, path, workers=WORKERS, arguments=arguments) as proxy:
        proxy.place = place
        yield proxy


def scrape(proxy, **headers):
    """Return sample → value from any worker; names without the prefix."""
    answer = proxy.client(None).get("/metrics", **headers)
    assert answer.status == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
            found[sample.name.removeprefix(catalog.PREFIX) + f"{{{labels}}}"] = sample.value
    return found


SERVED = "requests_total{model=embed,route=embeddings,status=200}"


def starts(proxy):
    return (proxy if isinstance(proxy, dict) else scrape(proxy))["worker_starts_total{}"]


def grown(proxy, before, name):
    return scrape(proxy)[name] - before.get(name, 0)


def test_every_worker_reports_all_workers(served, provider):
    client, before = served.client(), scrape(served)
    for i in range(40):
        assert client.embed("embed", [f"text {i}", "same"], caching=True).status == 200
    for _ in range(12):  # from any worker
        assert grown(served, before, SERVED) == 40
        assert grown(served, before, "items_total{model=embed}") == 80
    # A worker that has just started reads its deployments soon.
    state = "deployment_workers{model=embed,provider=p,state=ok}"
    eventually(lambda: scrape(served).get(state) == WORKERS)
    found = scrape(served)
    assert found["workers{}"] == WORKERS
    assert found["in_flight{}"] == 1  # the scrape
    assert found["call_duration_seconds_count{error=,model=embed,provider=p}"] >= 40
    asked = "cache_hits_total{level=memory}", "cache_misses_total{level=memory}"
    eventually(lambda: sum(grown(served, before, name) for name in asked) == 80)


def test_errors_are_counted_by_side(served, provider):
    client, before = served.client(), scrape(served)
    client.embed("unknown", "x")
    client.embed("embed", "")
    served.client("sk-wrong").embed("embed", "x")
    provider.always(refusals.status(500))
    client.embed("flaky", "x", timeout=20)
    provider.reset()
    for name in (
        "errors_total{code=model_not_found,model=,side=caller}",
        "errors_total{code=invalid_request_error,model=,side=caller}",
        "errors_total{code=invalid_api_key,model=,side=policy}",
        "errors_total{code=upstream_error,model=flaky,side=provider}",
    ):
        assert grown(served, before, name) == 1, name
    assert grown(served, before, "retries_total{error=unavailable,model=flaky,provider=p}") >= 1


def test_counts_of_a_killed_worker_are_kept(served):
    client, before = served.client(), scrape(served)
    for i in range(3):
        for _ in range(5):
            assert client.embed("embed", "x").status == 200
        victim = served.workers()[i % WORKERS]
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: starts(served) == starts(before) + i + 1, 60, "another worker")  # noqa: B023
        assert grown(served, before, SERVED) == 5 * (i + 1)
    assert scrape(served)["workers{}"] == WORKERS
    assert scrape(served)["in_flight{}"] == 1


def test_reloads_leave_no_files(served):
    before, old = scrape(served), set(served.workers())
    served.process.send_signal(signal.SIGHUP)
    eventually(lambda: served.workers() and not old & set(served.workers()), 60)
    eventually(lambda: scrape(served)["workers{}"] == WORKERS)
    assert grown(served, before, SERVED) == 0
    (directory,) = served.place.glob("embeddings-proxy-metrics-*")
    kinds = ["counter", "histogram", "gauge_livesum", "gauge_livemax"]
    # The master removes those of a worker after it has seen its end.
    eventually(lambda: len(list(directory.glob("*.db"))) <= len(kinds) * WORKERS + 2)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"X_Forwarded_For": "127.0.0.1"}, 200),  # a proxy on this host, and a client on it
        ({"X_Forwarded_For": "203.0.113.9"}, 401),
        ({"X_Forwarded_For": "127.0.0.1, 203.0.113.9"}, 401),  # the address that the client claims
        ({"X_Forwarded_For": "nonsense"}, 401),
        ({"Forwarded": "for=127.0.0.1"}, 401),
        ({"X_Forwarded_For": "203.0.113.9", "Authorization": f"Bearer {settings.KEY}"}, 403),
        ({"X_Forwarded_For": "203.0.113.9", "Authorization": "Bearer sk-admin"}, 200),
    ],
)
def test_metrics_need_an_allowed_address_or_admin_key(served, headers, status):
    assert served.client(None).get("/metrics", **headers).status == status


def test_concurrent_threads_count_exactly(tmp_path, provider):
    path = settings.settings_file(tmp_path, {"p": settings.provider(provider)}, MODELS, KEYS)
    with Proxy(tmp_path, path, worker_class="gthread") as proxy, ThreadPoolExecutor(8) as pool:
        client = proxy.client()
        answers = list(pool.map(lambda i: client.embed("embed", f"text {i}").status, range(160)))
        assert answers == [200] * 160
        found = scrape(proxy)
    assert found[SERVED] == found["items_total{model=embed}"] == 160
    assert found["call_items_sum{provider=p}"] == 160
    assert found["request_duration_seconds_count{model=embed}"] == 160
    assert found["in_flight{}"] == 1


def test_directory_is_removed_with_the_server(tmp_path, provider):
    (tmp_path / "place").mkdir()
    path = settings.settings_file(tmp_path, {"p": settings.provider(provider)}, MODELS, KEYS)
    arguments = ("--worker-tmp-dir", str(tmp_path / "place"))
    with Proxy(tmp_path, path, arguments=arguments):
        assert list((tmp_path / "place").iterdir())
    assert not list((tmp_path / "place").iterdir())


def test_metrics_can_be_turned_off(tmp_path, provider):
    off = {"METRICS": {"enabled": False}}
    path = settings.settings_file(tmp_path, {"p": settings.provider(provider)}, MODELS, KEYS, **off)
    with Proxy(tmp_path, path) as proxy:
        assert proxy.client().embed("embed", "x").status == 200
        assert proxy.client().get("/metrics").status == 404
