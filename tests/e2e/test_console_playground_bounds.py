"""What the page Playground refuses, and shows of markup, without a script and at a limit."""

import re

from app.database.engine import Database
from app.database.migrations import migrate
from tests.e2e.conftest import ADMIN_KEY, XSS_KEY
from tests.e2e.playground import TEXTS, embed
from tests.e2e.playground import page as page
from tests.support import settings
from tests.support.server import Proxy, eventually

MARKUP = "<img src=x onerror=\"document.title='xss'\">"
POOR_KEY = "sk-proxy-with-two-requests-a-minute"


def test_names_and_texts_of_markup_stay_text(browser, console_proxy, tmp_path):
    file = tmp_path / "<img src=x onerror=alert(1)>.txt"
    file.write_text(f"{MARKUP}\n</title><script>alert(1)</script>\n</textarea>{MARKUP}\n")
    with browser.open(console_proxy.url) as page:
        page.login(XSS_KEY)
        page.goto("/console/playground")
        page.upload("#file", file)
        assert embed(page, user=MARKUP, other="steady") == 200
        assert MARKUP in page.evaluate("document.getElementById('texts').value")
        assert page.text("table.texts tbody th") == MARKUP
        assert not page.has("main img, main script")
        assert page.evaluate("document.title") == "Playground · Embeddings proxy"
        page.check_accessibility()
        page.check_quiet()


def test_large_file_is_stopped_before_it_is_sent(page, tmp_path):
    file = tmp_path / "large.txt"
    file.write_text("a text\n" * 200_000)
    page.upload("#file", file)
    page.wait("document.getElementById('file').validationMessage === 'At most 1 MB.'")


def test_form_and_tables_work_without_a_script(browser, console_proxy):
    """The server's page alone, as a client without scripts sends and reads it."""
    with browser.open(console_proxy.url) as page:
        page.login(settings.KEY)
        text = page.evaluate(
            """(async () => {
              const answer = await fetch("/console/playground");
              const parser = new DOMParser();
              const page = parser.parseFromString(await answer.text(), "text/html");
              const body = new FormData(page.forms.playground);
              const sent = await fetch("/console/playground", {method: "POST", body});
              return await sent.text();
            })()"""
        )
        assert "<dt>Tokens</dt>" in text
        assert re.search(r'<tr data-number="1">\s*<td class="number">1</td>', text)
        assert not re.search(r"<script(?![^>]* src=)| style=| on\w+=", text)


def test_limits_of_the_key_are_shown_and_the_ledger_counts(browser, console_upstream, tmp_path):
    database = Database(f"sqlite:///{tmp_path}/usage.db")
    migrate(database.engine)
    keys = {
        "poor": {**settings.key(POOR_KEY, "wordllama"), "requests_per_minute": 2},
        "admin": {**settings.key(ADMIN_KEY, "*"), "admin": True},
    }
    path = settings.settings_file(
        tmp_path,
        {"p": settings.provider(console_upstream), "local": {"kind": "local"}},
        {"wordllama": settings._models()["wordllama"], "steady": settings.model("p")},
        keys,
        USAGE={"url": str(database.engine.url)},
    )
    database.close()
    with Proxy(tmp_path, path) as proxy, browser.open(proxy.url) as page:
        page.login(POOR_KEY)
        page.goto("/console/playground")
        assert page.texts("#model option") == ["wordllama"]
        statuses = [embed(page)]
        while statuses[-1] == 200 and len(statuses) < 6:
            statuses.append(embed(page))
        # Where a minute ends meanwhile, what was used in it counts less by now: one more is served.
        assert statuses in ([200, 200, 429], [200, 200, 200, 429])
        assert "Rate limit reached" in page.text("[role=alert]")
        assert page.evaluate("document.getElementById('texts').value").split("\n") == TEXTS
        page.check_accessibility()
        page.screenshot("playground-429")
        page.evaluate("document.querySelector('#model option').value = 'steady'")
        assert embed(page, model="steady") == 403
        assert "may not use the model" in page.text("[role=alert]")
        number = len(statuses) + 1
        rows = eventually(lambda: usage_of(proxy, number), what="the ledger has the requests")
        assert [(r["key"], r["requests"]) for r in rows] == [("poor", number)]


def usage_of(proxy, number):
    rows = proxy.client(ADMIN_KEY).get("/v1/usage?by=key").json["data"]
    return rows if rows and sum(row["requests"] for row in rows) == number else None
