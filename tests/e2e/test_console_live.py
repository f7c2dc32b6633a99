"""The pages Now and Request in a real Chromium, of requests that were retried, split, hedged …"""

import json
import os
import signal

import pytest

from app.console.live.values import KINDS, STATE_CLASSES
from tests.e2e.conftest import ADMIN_KEY, XSS_NAME
from tests.support import refusals, settings
from tests.support.console_session import session_cookie
from tests.support.server import Proxy, eventually
from tests.support.upstream import Upstream, good

SPLIT = [f"split {i}" for i in range(10)]


@pytest.fixture(scope="module")
def upstreams():
    with Upstream(settings.WIDTH) as a, Upstream(settings.WIDTH) as b:
        yield a, b


@pytest.fixture(scope="module")
def proxy(tmp_path_factory, upstreams):
    a, b = upstreams
    directory = tmp_path_factory.mktemp("live")
    pair = [
        {"provider": "a", "model": "upstream-model", "price_per_million_tokens": 0.02},
        {"provider": "b", "model": "upstream-model"},
    ]
    both = {"dimensions": settings.WIDTH, "deployments": pair}
    path = settings.settings_file(
        directory,
        {
            "a": settings.provider(a, max_inputs=4),
            "b": settings.provider(b, max_inputs=4),
        },
        {
            "embed": {"dimensions": settings.WIDTH, "deployments": pair[:1]},
            "hedged": {**both, "hedge": True},
            XSS_NAME: settings.model("b"),
        },
        {
            "tests": settings.KEYS["tests"],
            "narrow": settings.key(settings.NARROW_KEY, "embed"),
            "admin": {**settings.key(ADMIN_KEY, "*"), "admin": True},
        },
        CACHE={"ttl": 600, "max_bytes": 2**24},
    )
    with Proxy(directory, path) as started:
        yield started


@pytest.fixture(autouse=True)
def _good_answers(upstreams):
    for upstream in upstreams:
        upstream.reset()


@pytest.fixture(scope="module")
def page(browser, proxy):
    """A page of an administrator."""
    with browser.open(proxy.url) as opened:
        opened.login(ADMIN_KEY)
        yield opened


def send(proxy, request_id, model="embed", texts="a text", key=settings.KEY, **fields):
    """Send a request with this id."""
    body = {"model": model, "input": texts, **fields}
    return proxy.client(key).post(body, x_request_id=request_id)


def steps(page, request_id):
    """Open the page of a request; return the text of each step."""
    assert page.goto(f"/console/request?id={request_id}") == 200
    page.check_quiet()
    return [" ".join(text.split()) for text in page.texts(".waterfall tbody th")]


def bars(page):
    """Return the classes of the bars, step by step."""
    rows = "[...document.querySelectorAll('.waterfall tbody tr')]"
    return page.evaluate(
        f"{rows}.map((row) => [...row.querySelectorAll('rect')].map((r) => r.className.baseVal))"
    )


def test_retried_request(page, proxy, upstreams):
    upstreams[0].script(refusals.status(503))
    assert send(proxy, "retried").status == 200
    shown = steps(page, "retried")
    assert shown[0] == "Read and admitted"
    assert shown[2] == "a / upstream-model unavailable 1 text"
    assert shown[3] == "a / upstream-model retry 1 text"
    assert [bar[-1] for bar in bars(page)] == ["own", "own", "bad", "good", "own"]
    assert "again, after a failure" in page.text("main")
    page.screenshot("request-retried")


def test_split_request(page, proxy):
    assert send(proxy, "split", texts=SPLIT, user="someone").status == 200
    calls = [text for text in steps(page, "split") if text.startswith("a /")]
    assert sorted(text.removeprefix("a / upstream-model ") for text in calls) == [
        "texts 1 to 4 of 10",
        "texts 5 to 8 of 10",
        "texts 9 to 10 of 10",
    ]
    facts = " ".join(page.text(".facts").split())
    assert "Key tests End user someone Model embed" in facts
    assert "split 3" not in page.text("body")


def test_cached_request(page, proxy):
    for request_id in ("first", "cached"):
        assert send(proxy, request_id, texts="to be cached", caching=True).status == 200
    assert steps(page, "cached") == ["Read and admitted", "Looked up in the cache"]
    assert "of them cached" in page.text(".facts")


def test_hedged_request(page, proxy, upstreams):
    for i in range(120):  # now it is known what is usual
        assert send(proxy, f"usual-{i}", "hedged").status == 200
    slow, asked = refusals.delayed(1, good), []

    def slow_at_first(exchange):
        asked.append(exchange)
        (slow if len(asked) == 1 else good)(exchange)

    for upstream in upstreams:
        upstream.always(slow_at_first)
    assert send(proxy, "hedged", "hedged").headers["x-proxy-attempts"] == "2"
    shown = " ".join(steps(page, "hedged"))
    assert "hedge" in shown
    assert "abandoned" in shown
    assert sorted(bar[-1] for bar in bars(page) if bar != ["own"]) == ["abandoned", "good"]
    page.screenshot("request-hedged")


def test_failed_request_says_what_was_wrong(page, proxy, upstreams):
    upstreams[0].always(refusals.status(500))
    assert send(proxy, "failed").status == 502
    steps(page, "failed")
    assert page.text(".heading .tag") == "502"
    assert page.has(".message.failed")
    page.screenshot("request-failed")


def test_unknown_request_is_a_404(page):
    assert page.goto("/console/request?id=never-sent") == 404
    assert "No request never-sent is known" in page.text("main")
    page.check_accessibility()


def test_list_leads_to_a_request_by_mouse_and_form(page, proxy, upstreams):
    upstreams[0].always(refusals.status(500))
    assert send(proxy, "of/a+list").status == 502
    upstreams[0].reset()
    assert send(proxy, "newest").status == 200
    page.goto("/console/request")
    assert page.texts(".requests th code")[:2] == ["newest", "of/a+list"]
    page.screenshot("requests")
    page.click(".choice a:nth-child(2)", leaves=True)
    assert page.path() == "/console/request?show=failed"
    assert page.texts(".requests th code")[0] == "of/a+list"
    page.click(".requests th a", leaves=True)
    assert page.text("h2") == "of/a+list"
    page.type("#id", "newest")
    page.press("Enter")
    page.wait("document.querySelector('h2')?.innerText === 'newest'")
    times = page.evaluate(
        "fetch('/console/api/requests?show=slowest').then((a) => a.json())"
        ".then((a) => a.data.map((row) => row.total_ms))"
    )
    assert times == sorted(times, reverse=True)
    assert page.evaluate("fetch('/console/api/requests?show=x').then((a) => a.status)") == 400


def test_key_sees_its_own_requests_only(browser, proxy):
    send(proxy, "of-tests")
    send(proxy, "of-another", "embed", key=settings.NARROW_KEY)
    with browser.open(proxy.url) as page:
        page.login(settings.NARROW_KEY)
        assert page.texts(".top nav a") == ["Request", "Playground"]
        assert page.path() == "/console/request"
        assert page.texts(".requests th code") == ["of-another"]
        assert page.goto("/console/request?id=of-tests") == 404
        assert page.goto("/console/request?id=of-another") == 200
        page.check_accessibility()
        assert page.goto("/console/now") == 403


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
    assert "upstream_error" in page.texts("#error-rows code")
    ejections = "document.querySelector('[data-live=\"models.2.deployments.0.ejections\"]')"
    page.wait(f"Number({ejections}.innerText) >= 1")
    page.wait("document.getElementById('mark-rows').innerText.includes('was ejected')")
    assert float(figure(page, "figures.failed_per_second")) > 0
    page.check_quiet()
    page.screenshot("now")
    page.click("#pause")
    assert page.text("#status") == "Paused."
    assert page.text("#pause") == "Continue"


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
