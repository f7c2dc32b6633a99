"""kustomize builds deploy/kubernetes from its own folder, and the pod starts."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from tests.deploy import sandbox, wheels
from tests.deploy.compose import ADDRESSES, Project, with_programs
from tests.deploy.image import Image
from tests.deploy.pod import FOLDER, JOB, KUSTOMIZATION, STATEFUL_SET, Pod, load
from tests.deploy.servers import Within, beside
from tests.support.server import ROOT, eventually

GUNICORN = (ROOT / "app" / "server" / "configuration.py").read_text()
GRACEFUL = int(re.search(r"graceful_timeout = (\d+)", GUNICORN)[1])
POD, MIGRATION = STATEFUL_SET["spec"]["template"]["spec"], JOB["spec"]["template"]["spec"]
WHY_NOT = sandbox.reason_not() or wheels.reason_not()
HEAD = (FOLDER / "kustomization.yaml").read_text().partition("apiVersion")[0]


# The base -----------------------------------------------------------------------------------------


def test_all_named_files_are_in_the_folder():
    names = set(KUSTOMIZATION["resources"])
    for generator in KUSTOMIZATION["configMapGenerator"]:
        names.update(generator.get("files", []), generator.get("envs", []))
    for name in names:
        assert (FOLDER / name).is_file(), name
        assert (FOLDER / name).resolve().parent == FOLDER
    there = {path.name for path in FOLDER.iterdir() if path.is_file()}
    assert names == there - {"kustomization.yaml"}


def test_copies_equal_the_files_of_the_container():
    command = ["sed", "-f", "../container/nginx.sed", "../nginx.conf"]
    made = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=True).stdout
    assert (FOLDER / "nginx.conf").read_text() == made
    assert " ".join(command) in (FOLDER / "kustomization.yaml").read_text()
    settings = (ROOT / "deploy" / "container" / "settings.py").read_text()
    assert (FOLDER / "settings.py").read_text() == settings


def test_namespace_is_made_before_the_secret():
    """It is made before the pods, with files of this folder and of ../container."""
    steps = [
        HEAD.index(words) for words in ("apply -f namespace.yaml", "secrets.sh", "create secret")
    ]
    assert [*steps, HEAD.index("apply -k .")] == sorted([*steps, HEAD.index("apply -k .")])
    assert (FOLDER / "../container/secrets.sh").resolve().is_file()
    (namespace,) = load("namespace.yaml")
    assert namespace["metadata"]["name"] == KUSTOMIZATION["namespace"]
    assert f"-n {KUSTOMIZATION['namespace']} create secret generic embeddings-proxy" in HEAD


@pytest.fixture(scope="module")
def built() -> str:
    """The output of kustomize, which needs no cluster."""
    if not shutil.which("kubectl"):
        pytest.skip("no kubectl here, which has kustomize")
    done = subprocess.run(["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_kustomize_builds_the_base(built: str):
    made = list(yaml.safe_load_all(built))
    assert made[0]["kind"] == "Namespace"
    assert all(o["metadata"]["namespace"] == "embeddings" for o in made[1:])
    configs = {o["metadata"]["name"] for o in made if o["kind"] == "ConfigMap"}
    assert len(configs) == 2
    by_kind = {o["kind"]: o for o in made}
    for kind in ("StatefulSet", "Job"):
        spec = by_kind[kind]["spec"]["template"]["spec"]
        used = {v["configMap"]["name"] for v in spec["volumes"] if "configMap" in v}
        used |= {e["configMapRef"]["name"] for e in spec["containers"][0]["envFrom"]}
        assert used == configs
        assert spec["containers"][0]["image"].startswith("registry.example.com/")


def test_built_objects_match_the_schemas(built: str, tmp_path: Path):
    lint = ROOT / ".venv-lint/bin/kubernetes-validate"
    validate = shutil.which("kubernetes-validate") or shutil.which(lint)
    if not validate:
        pytest.skip("no kubernetes-validate here: make lint-deploy installs it")
    (tmp_path / "made.yaml").write_text(built)
    command = [validate, "--strict", str(tmp_path / "made.yaml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# Its parts ----------------------------------------------------------------------------------------


def test_pods_run_without_privileges_and_read_only():
    for spec in (POD, MIGRATION):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
    assert all(container["readinessProbe"] for container in POD["containers"])


def test_pods_have_time_to_finish_requests():
    sleeps = {
        c["name"]: int(c["lifecycle"]["preStop"]["exec"]["command"][1]) for c in POD["containers"]
    }
    assert sleeps["nginx"] < sleeps["proxy"]  # which serves requests that nginx still accepts
    assert POD["terminationGracePeriodSeconds"] > GRACEFUL + sleeps["proxy"]


def test_spool_is_on_the_volume_of_the_pod():
    mounts = {m["mountPath"]: m["name"] for m in POD["containers"][0]["volumeMounts"]}
    (claim,) = STATEFUL_SET["spec"]["volumeClaimTemplates"]
    assert mounts["/var/lib/proxy"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_names_and_selectors_match():
    labels = STATEFUL_SET["spec"]["selector"]["matchLabels"]
    for name in ("disruption", "network", "service"):
        spec = load(f"{name}.yaml")[0]["spec"]
        chosen = spec.get("selector") or spec["podSelector"]
        assert (chosen.get("matchLabels") or chosen) == labels
    migration = JOB["spec"]["template"]["metadata"]["labels"]
    assert load("network.yaml")[1]["spec"]["podSelector"]["matchLabels"] == migration
    assert migration != labels  # else the service would select the job
    assert STATEFUL_SET["spec"]["serviceName"] == load("service.yaml")[1]["metadata"]["name"]
    (autoscaler,) = load("autoscaler.yaml")
    target = autoscaler["spec"]["scaleTargetRef"]
    assert target["kind"] == STATEFUL_SET["kind"]
    assert target["name"] == STATEFUL_SET["metadata"]["name"]
    metric = autoscaler["spec"]["metrics"][0]["pods"]["metric"]["name"]
    prefix, name = metric.rsplit("proxy_", 1)
    assert prefix == "embeddings_"
    assert f'"{name}"' in (ROOT / "app" / "observability" / "metrics" / "catalog.py").read_text()


# A pod --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """What is in the namespace "data"."""
    data = {f"{name}.data.svc": ADDRESSES[name] for name in ("cache", "limits", "postgres")}
    project = Project(tmp_path_factory.mktemp("kubernetes"), image, data)
    try:
        with beside(project):
            yield project
    finally:
        project.network.close()


def pod(project: Project, name: str, spec: dict, claims: tuple[str, ...] = ()) -> Pod:
    directory = project.directory / name
    secrets = project.secrets
    return Pod(spec, directory, project.network, project.image, secrets, with_programs, claims)


@pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
@pytest.mark.timeout(400)  # the image is built
def test_a_pod_serves_before_and_after_the_migration(project: Project):
    running = pod(project, "pod", POD, claims=("state",))
    caller = (project.secrets / "client_key").read_text()
    client = Within(project.network, "127.0.0.1", 8080, caller)
    probed = Within(project.network, "127.0.0.1", 8000)
    with ExitStack() as stack:
        log = project.directory / "proxy.log"
        proxy = stack.enter_context(running.container("proxy").started(log))
        eventually(lambda: proxy.check() or probed.is_live(), 60, "the proxy is live")
        log = project.directory / "nginx.log"
        nginx = stack.enter_context(running.container("nginx").started(log))
        eventually(lambda: nginx.check() or client.is_live(), 60, "nginx is live")
        assert client.embed("wordllama", ["a", "b"]).status == 200

        migration = pod(project, "job", MIGRATION).container("migrate")
        done = migration.run()
        assert done.returncode == 0, done.stderr

        report = running.container("proxy")
        report.command = ["flask", "--app", "wsgi", "usage", "report"]
        eventually(lambda: "default" in report.run().stdout, 60, "the row of before")
        assert (project.directory / "pod/volumes/state/spool").is_dir()
        assert proxy.stop() == 0, proxy.log.read_text()
