"""Alerts and dashboard use metrics that exist, by labels that they have."""

import json
import re
import shutil
import subprocess
import sys

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.observability.metrics import catalog
from tests.support.server import ROOT

ALERTS = ROOT / "deploy/prometheus/alerts.yml"


DASHBOARD = ROOT / "deploy/grafana/embeddings-proxy.json"


SAMPLES = {sample for metric in catalog.ALL for sample in metric.samples}


def queries():
    """Return all queries of alerts and dashboard, with the dashboard's variables replaced."""
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"].replace("$__rate_interval", "5m")
            yield panel["title"], re.sub(r"\$\w+", "x", expression)


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_queries_use_existing_metrics(where, query):
    promql_parser.parse(query)
    asked = set(re.findall(rf"{catalog.PREFIX}\w+", query))
    assert asked <= SAMPLES, where
    assert asked or "up{" in query
    for name, matchers, by in re.findall(rf"({catalog.PREFIX}\w+)\{{(.*?)\}}()", query):
        metric = next(m for m in catalog.ALL if name in m.samples)
        labels = set(re.findall(r"(\w+)\s*(?:=~|!=|=)", matchers))
        assert labels <= {*metric.labels, "instance", "le"}, (where, name, by)


def test_queries_group_by_existing_labels():
    known = {label for metric in catalog.ALL for label in metric.labels} | {"le", "instance"}
    for where, query in queries():
        for group in re.findall(r"by \((.*?)\)", query):
            assert set(re.split(r",\s*", group.strip())) <= known, where


def test_dashboard_shows_every_metric():
    text = DASHBOARD.read_text()
    missing = [m.name for m in catalog.ALL if not any(sample in text for sample in m.samples)]
    assert not missing


@pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool (Debian: prometheus)")
def test_promtool_accepts_the_rules():
    for what, path in (("rules", ALERTS), ("config", ALERTS.with_name("prometheus.yml"))):
        ran = subprocess.run(["promtool", "check", what, str(path)], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr


def test_every_metric_can_be_written_and_read(files):
    for metric in catalog.ALL:
        labels = ["x"] * len(metric.labels)
        if metric.kind == "histogram":
            files.distribution(metric, *labels).observe(1)
        else:
            files.number(metric, *labels).add(1)
    from prometheus_client.exposition import generate_latest

    text = generate_latest(files).decode()
    found = {s.name for f in text_string_to_metric_families(text) for s in f.samples}
    assert found == SAMPLES
    assert len({m.word for m in catalog.ALL}) == len(catalog.ALL)
    assert all(m.help.endswith(".") for m in catalog.ALL)


def test_imports_of_the_master_do_not_load_ssl():
    """ssl and requests must not be imported before gevent patches."""
    script = (
        "import sys, app.observability.metrics.directory; "
        "print(*({'ssl', 'prometheus_client', 'requests', 'flask'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert ran.stdout.split() == [], ran.stderr
