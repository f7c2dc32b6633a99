"""The page Now in a real Chromium, and what it has in common with the page Request."""

import json
import os
import signal

import pytest

from app.console.live.values import KINDS, STATE_CLASSES
from tests.e2e.conftest import ADMIN_KEY, XSS_NAME
from tests.e2e.live_console import SPLIT, send
from tests.e2e.live_console import good_answers as good_answers
from tests.e2e.live_console import page as page
from tests.e2e.live_console import proxy as proxy
from tests.e2e.live_console import upstreams as upstreams
from tests.support import refusals
from tests.support.console_session import session_cookie
from tests.support.server import eventually


def test_markup_of_callers_and_providers_is_shown_as_text(page, proxy, upstreams):
    body = {"error": {"message": XSS_NAME, "type": "invalid_request_error"}}
    upstreams[0].always(lambda exchange: exchange.reply(400, body))
    assert send(proxy, "xss", user=XSS_NAME).status == 400
    assert send(proxy, "xss", XSS_NAME + "no").status == 404
    assert send(proxy, "xss", XSS_NAME, user=XSS_NAME).status == 200
    for path in ("request?id=xss", "request", "request?id=<img src=x>", "now"):
        page.goto(f"/console/{path}")
        if path == "now":
            page.wait("document.querySelector('#charts canvas')")
        assert "<img src=x" in page.text("main")
        assert not page.has("main img")
        assert page.evaluate("document.title") in (
            "Request · Embeddings proxy",
            "Now · Embeddings proxy",
        )


def wait_for_figures(page):
    page.wait("document.querySelectorAll('#charts canvas').length === 6")
    page.wait("document.getElementById('status').innerText.includes('every 2 seconds')")


def figure(page, path):
    return page.text(f"[data-live='{path}']")


def test_page_now_follows_what_happens(page, proxy, upstreams):
    page.goto("/console/now")
    wait_for_figures(page)
    before = int(figure(page, "figures.requests_hour"))
    upstreams[0].always(refusals.status(500))
    for i in range(40):
        send(proxy, f"failing-{i}", "hedged")
    send(proxy, "failed-at-last")
    hour = "document.querySelector('[data-live=\"figures.requests_hour\"]').innerText"
    page.wait(f"{hour} === '{before + 41}'")
    assert float(figure(page, "figures.failed_per_second")) > 0
    assert "upstream_error" in page.texts("#error-rows code")
    ejections = "document.querySelector('[data-live=\"models.2.deployments.0.ejections\"]')"
    page.wait(f"Number({ejections}.innerText) >= 1")
    page.wait("document.getElementById('mark-rows').innerText.includes('was ejected')")
    page.check_quiet()
    page.screenshot("now")
    page.click("#pause")
    assert page.text("#status") == "Paused."
    assert page.text("#pause") == "Continue"


def test_page_now_is_new_soon_after_a_slow_answer(page):
    page.goto("/console/now")
    wait_for_figures(page)
    page.evaluate(
        "(() => { pauses = []; let now = 0; const later = setTimeout;"
        " performance.now = () => (now += 60_000);"  # each answer takes a minute
        " window.setTimeout = (run, ms) => { pauses.push(ms); return later(run, ms); }; })()"
    )
    page.wait("pauses.length > 0")
    assert max(page.evaluate("pauses")) == 10_000


VALUES = {
    "short": [None, 0, 0.058, 9.996, 12.34, 999.4, 999.6, 12_345, 1_234_567, 8.3e9],
    "count": [None, 0, 7, 1_234_567],
    "money": [None, 0, 0.00001, 0.0012, 0.9876, 1, 1234.567],
    "duration": [None, 0.2, 0.256, 12.34, 999.4, 999.6, 12_345.6, 1_234_567.8],
    "percent": [None, 0, 0.4321, 0.9999, 1],
    "cosine": [None, 0.999871, 1],
    "workers": [{"ok": 2}, {"ok": 1, "ejected": 3}],
    "wait": [None, 0, 12.3],
    "slow": [1, 0.4],
    "from": ["ledger", "workers"],
    "error": [None, "failed with 500"],
}


def test_script_writes_values_as_the_server_does(page):
    assert VALUES.keys() == KINDS.keys()
    page.goto("/console/now")
    script = page.evaluate("document.querySelector('script[src*=\"now.js\"]').src")
    module = json.dumps(script.replace("now.js", "live_values.js"))
    written = page.evaluate(
        f"import({module}).then(({{ KINDS }}) => Object.entries({json.dumps(VALUES)})"
        ".map(([kind, values]) => [kind, values.map(KINDS[kind])]))"
    )
    assert dict(written) == {kind: list(map(KINDS[kind], VALUES[kind])) for kind in VALUES}
    classes = page.evaluate(f"import({module}).then((found) => found.STATE_CLASSES)")
    assert classes == STATE_CLASSES


def test_polls_are_small_and_the_page_is_light(page):
    page.goto("/console/now")
    wait_for_figures(page)
    page.evaluate(
        "loaded = (wanted) => ['resource', 'navigation']"
        ".flatMap((kind) => performance.getEntriesByType(kind))"
        ".filter((e) => wanted === /since=[1-9]/.test(e.name)).map((e) => e.decodedBodySize)"
    )
    page.wait("loaded(true).length > 1")
    assert max(page.evaluate("loaded(true)")) < 5_000
    assert sum(page.evaluate("loaded(false)")) < 150_000


def test_reload_is_marked_and_the_page_goes_on(page, proxy):
    assert send(proxy, "before-the-reload").status == 200
    page.goto("/console/now")
    wait_for_figures(page)
    before, old = int(figure(page, "figures.requests_hour")), set(proxy.workers())
    os.kill(proxy.process.pid, signal.SIGHUP)
    eventually(lambda: proxy.workers() and not old & set(proxy.workers()), 60, "a reload")
    page.wait("document.getElementById('mark-rows').innerText.includes('were reloaded')")
    assert int(figure(page, "figures.requests_hour")) >= before
    assert page.goto("/console/request?id=before-the-reload") == 200


def test_pages_work_without_javascript(proxy):
    send(proxy, "plain", texts=SPLIT)
    cookie = session_cookie(proxy.client(ADMIN_KEY))
    stranger = proxy.client(None)
    for path, part in (
        ("now", 'data-live="figures.p50_ms"'),
        ("request", "<code>plain</code>"),
        ("request?id=plain", '<rect class="good"'),
    ):
        answer = stranger.get(f"/console/{path}", Cookie=cookie)
        assert (answer.status, part in answer.text) == (200, True)
        assert " style=" not in answer.text
        assert len(answer.text) < 150_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_are_accessible_in_both_colours_and_on_a_phone(browser, proxy, scheme, width):
    send(proxy, "shown", texts=SPLIT, user="someone")
    with browser.open(proxy.url, scheme=scheme, width=width) as page:
        page.login(ADMIN_KEY)
        page.goto("/console/now")
        wait_for_figures(page)
        page.check_accessibility()
        page.screenshot(f"now-{scheme}-{width}")
        for name, path in (("requests", "request"), ("request", "request?id=shown")):
            page.goto(f"/console/{path}")
            page.check_accessibility()
            page.screenshot(f"{name}-{scheme}-{width}")
        page.check_quiet()
