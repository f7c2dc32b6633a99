"""The page that shows the document: its files, its policy, and how to turn it off."""

import re
from importlib.util import find_spec
from urllib.parse import urljoin

import pytest

from app.console.api_docs import docs
from tests.api.fake import FakeProvider, app_with, ask, error_of


def test_page_and_its_files_are_served(client):
    page = client.get("/docs")
    assert page.status_code == 200
    parts = re.findall(r'(?:src|href)="(docs/[^"]+)"', page.text)
    assert len(parts) == 4
    assert not re.search(r"(src|href)=.https?:", page.text)
    for part in parts:
        answer = client.get(f"/{part}")
        assert answer.status_code == 200, part
        assert "max-age" in answer.headers["Cache-Control"]
        again = client.get(f"/{part}", headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304
        answer.close()


def test_path_with_trailing_slash_redirects_to_the_page(client):
    """The page has relative links, which would be wrong below ``/docs/``."""
    answer = client.get("/docs/")
    assert (answer.status_code, answer.headers["Location"]) == (308, "../docs")
    assert (
        urljoin("http://proxy/below/docs/", answer.headers["Location"]) == "http://proxy/below/docs"
    )


@pytest.mark.parametrize("path", ["/docs", "/docs/start.js", "/openapi.json"])
def test_page_may_contact_only_this_server(client, path):
    headers = client.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "connect-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == (
        "nosniff",
        "no-referrer",
    )


@pytest.mark.parametrize("name", ["swagger-ui.js", "nothing.js", "../words.py", "index.css"])
def test_other_files_of_the_bundle_are_not_served(client, name):
    assert client.get(f"/docs/{name}").status_code == 404


def test_without_the_bundle_there_is_a_404(client, monkeypatch):
    assert find_spec("flask_swagger_ui")
    monkeypatch.setattr(docs, "find_spec", lambda _: None)
    assert client.get("/docs/swagger-ui.css").status_code == 404


def test_docs_can_be_disabled(monkeypatch):
    """The 404 is that of any unknown path."""
    client = app_with(monkeypatch, FakeProvider(), DOCS={"enabled": False})
    for path in ("/docs", "/docs/", "/docs/start.js", "/docs/swagger-ui.css", "/openapi.json"):
        answer = error_of(client.get(path))
        assert (answer.status, answer.code) == (404, "not_found")
        assert answer.message == error_of(client.get("/no" + path)).message.replace("/no", "", 1)
    assert ask(client).status_code == 200


def test_docs_are_enabled_by_default(monkeypatch):
    client = app_with(monkeypatch, FakeProvider(), DOCS={})
    assert client.get("/docs").status_code == client.get("/openapi.json").status_code == 200
