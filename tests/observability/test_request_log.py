"""docs/operations.md has every field of the log line of a request, and no other."""

import json
import logging
import re

from app.exchange import Exchange
from app.observability import logs, request_log
from app.observability.request_log import RequestLog
from tests.support.server import ROOT


def test_every_field_of_the_line_is_documented(monkeypatch):
    lines = []
    monkeypatch.setattr(request_log, "log_request", lines.append)
    RequestLog().finished(Exchange("req_1", "POST", "/v1/embeddings", trace_id="4bf92f"), 200)
    record = logs._RequestRecord(logging.INFO, lines[0])
    page = (ROOT / "docs" / "operations.md").read_text()
    section = page.partition("## The log line of a request")[2].partition("\n## ")[0]
    names = re.findall(r"^\| ([^|]*) \|", section, re.M)[1:]
    documented = re.findall(r"`(\w+)`", " ".join(names))
    assert sorted(documented) == sorted(json.loads(logs.JsonFormatter().format(record)))
