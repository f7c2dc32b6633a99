"""/docs in a real headless Chromium: paste a key, send a request."""

import json
from pathlib import Path

import pytest

from tests.support import browser, settings
from tests.support.server import Proxy
from tests.support.upstream import Upstream

SCRIPT = Path(__file__).with_name("docs_page.mjs")


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """The content of the page, and the directory of its screenshots."""
    directory = tmp_path_factory.mktemp("docs")
    with Upstream(settings.WIDTH) as upstream:
        models = {"text-embedding-3-small": settings.model("p")}
        keys = {"tests": settings.key(settings.KEY, "*")}
        providers = {"p": settings.provider(upstream)}
        path = settings.settings_file(directory, providers, models, keys)
        with Proxy(directory, path) as proxy:
            yield {
                **browser.run(SCRIPT, proxy.url, settings.KEY, str(directory)),
                "url": proxy.url,
                "pictures": directory,
            }


def test_page_shows_the_routes(seen):
    assert seen["title"] == "Embeddings proxy"
    assert {"/v1/embeddings", "/v1/models", "/v1/models/{name}", "/metrics"} <= set(seen["routes"])


def test_request_without_key_is_refused(seen):
    assert seen["refused"]["status"].startswith("401")
    assert "invalid_request_error" in seen["refused"]["body"]


def test_request_with_key_is_served(seen):
    assert seen["served"]["status"].startswith("200")
    body = seen["served"]["body"]
    answer = json.loads(body[body.index("{") :])  # before it there is a button
    assert [len(row["embedding"]) for row in answer["data"]] == [settings.WIDTH] * 2
    assert answer["model"] == "text-embedding-3-small"


def test_page_loads_no_foreign_file_and_logs_no_error(seen):
    assert {url.startswith((seen["url"], "data:")) for url in seen["requests"]} == {True}
    expected = "the server responded with a status of 401"  # of the request without a key
    assert [c for c in seen["complaints"] if expected not in c] == []


def test_key_is_not_stored(seen):
    assert settings.KEY not in seen["kept"]


def test_screenshots_were_taken(seen):
    for name in ("docs.png", "answer.png"):
        assert (seen["pictures"] / name).stat().st_size > 20_000
