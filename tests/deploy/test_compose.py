"""The services of compose.yaml start, one by one, with their users, mounts and networks."""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from tests.deploy import sandbox, wheels
from tests.deploy.compose import ADDRESSES, COMPOSE, Project, make_secrets
from tests.deploy.image import Image
from tests.deploy.servers import Within, beside
from tests.support.server import eventually

WHY_NOT = sandbox.reason_not() or wheels.reason_not()
pytestmark = pytest.mark.timeout(400)  # the image is built
starts = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
MODEL = "wordllama"


@pytest.fixture(scope="module")
def project(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The servers that the proxy needs, without the proxy."""
    project = Project(tmp_path_factory.mktemp("compose"), image)
    try:
        with beside(project):
            yield project
    finally:
        project.network.close()


@pytest.fixture(scope="module")
def up(project: Project) -> Iterator[Project]:
    """All services, started in the order of depends_on."""
    assert project.services["proxy"]["depends_on"]["migrate"] == {
        "condition": "service_completed_successfully"
    }
    done = project.container("migrate").run()
    assert done.returncode == 0, done.stderr
    with ExitStack() as stack:
        log = project.directory / "proxy.log"
        proxy = stack.enter_context(project.container("proxy").started(log))
        health = project.container("proxy", project.image.health)
        eventually(
            lambda: proxy.check() or health.run().returncode == 0, 60, "the proxy is healthy"
        )
        log = project.directory / "nginx.log"
        nginx = stack.enter_context(project.container("nginx").started(log))
        eventually(lambda: nginx.check() or client(project).is_live(), 60, "nginx listens")
        yield project
        assert proxy.stop() == 0, proxy.log.read_text()


def client(project: Project, key: str | None = None) -> Within:
    """A client of nginx; its default key is the one that secrets.sh made."""
    made = (project.secrets / "client_key").read_text()
    return Within(project.network, "127.0.0.1", 8080, key or made)


def flask(project: Project, *words: str) -> str:
    """Run `docker compose exec proxy flask …`."""
    done = project.container("proxy", ["flask", "--app", "wsgi", *words]).run()
    assert done.returncode == 0, done.stderr
    return done.stdout


@starts
def test_an_embedding_goes_through_all_services(up: Project):
    first = client(up).embed(MODEL, ["a text", "another"], caching=True)
    assert (first.status, len(first.embeddings)) == (200, 2)
    with up.network.inside(), redis.Redis(ADDRESSES["cache"]) as cache:
        eventually(cache.dbsize, what="vectors in the shared cache")
    assert client(up).embed(MODEL, "a text", caching=True).headers["x-proxy-cache"] == "hit"
    eventually(lambda: "default" in flask(up, "usage", "report"), 60, "a row in the ledger")


@starts
def test_a_key_of_the_database_is_counted_by_the_limits_server(up: Project):
    shown = flask(up, "key", "new", "team", "--limit", "requests_per_minute=1000")
    key = next(word for word in shown.split() if word.startswith("sk-"))
    caller = client(up, key)
    eventually(lambda: caller.embed(MODEL, "a text").status == 200, 60, "the key is known")
    with up.network.inside(), redis.Redis(ADDRESSES["limits"]) as limits:
        assert limits.dbsize()


@starts
@pytest.mark.parametrize("name", ["cache", "limits"])
def test_only_the_cache_evicts(project: Project, name: str):
    """Counters have a time to live as well: volatile-lru would evict them too."""
    with project.network.inside(), redis.Redis(ADDRESSES[name]) as server:
        policy = server.config_get("maxmemory-policy")["maxmemory-policy"]
        kept = server.config_get("appendonly")["appendonly"]
        assert int(server.config_get("maxmemory")["maxmemory"]) > 0
    assert (policy, kept) == {"cache": ("allkeys-lru", "no"), "limits": ("noeviction", "yes")}[name]


@starts
def test_prometheus_can_read_metrics_and_callers_cannot(up: Project):
    inside = Within(up.network, ADDRESSES["proxy"], 8000)  # so from an address of "inside"
    assert inside.get("/metrics").status == 200
    assert Within(up.network, ADDRESSES["nginx"], 8080).get("/metrics").status == 403


@starts
def test_spool_is_on_the_volume(up: Project):
    """A tmpfs would be lost with its container."""
    proxy = up.container("proxy")
    (state,) = (source for source, target, _ in proxy.mounts if target == "/var/lib/proxy")
    assert (state / "spool").is_dir()
    assert not any(target.startswith("/var/lib") for target, _ in proxy.tmpfs)


def test_proxies_have_one_trusted_address():
    """A service name has an address on each shared network, but only one subnet is trusted."""
    networks = {name: set(service["networks"]) for name, service in COMPOSE["services"].items()}
    for name in set(networks) - {"proxy"}:
        assert networks["proxy"] & networks[name] <= {"inside"}, name
    assert {"inside"} < networks["proxy"]  # and a way to the providers
    assert "inside" in networks["nginx"] & networks["prometheus"]
    (subnet,) = (entry["subnet"] for entry in COMPOSE["networks"]["inside"]["ipam"]["config"])
    environment = COMPOSE["services"]["proxy"]["environment"]
    for name in ("TRUSTED_PROXIES", "FORWARDED_ALLOW_IPS", "METRICS_ALLOWED"):
        assert environment[name].split(",")[-1] == subnet
    for name, service in COMPOSE["services"].items():  # a port needs a network that is not internal
        assert not service.get("ports") or networks[name] - {"inside"}, name


SECRETS = [(n, s) for n, service in COMPOSE["services"].items() for s in service.get("secrets", [])]
READERS = {"proxy": 10001, "migrate": 10001, "postgres": 70, "grafana": 472}  # the images' users


@starts
@pytest.mark.parametrize(("name", "secret"), SECRETS)
def test_a_secret_can_be_read_by_the_user_of_its_service(project: Project, name, secret: str):
    path = f"/run/secrets/{secret}"
    container = project.container("nginx", ["cat", path])
    container.user, container.groups = READERS[name], ()
    container.mounts = [(project.secrets / secret, path, False)]
    done = container.run()
    assert (done.returncode, done.stdout) == (0, (project.secrets / secret).read_text())


def test_secrets_on_the_host_are_readable_by_owner_only_and_kept(tmp_path: Path):
    previous = os.umask(0o022)
    try:
        make_secrets(tmp_path / "secrets")
        before = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
        make_secrets(tmp_path / "secrets")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert before == {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert set(before) == set(COMPOSE["secrets"])
    assert before["openai_api_key"] == "sk-upstream"
    assert len(before["client_key"]) > 40
