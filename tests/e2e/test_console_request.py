"""The page Request in a real Chromium, of requests that were retried, split, hedged …"""

from tests.e2e.live_console import SPLIT, send
from tests.e2e.live_console import good_answers as good_answers
from tests.e2e.live_console import page as page
from tests.e2e.live_console import proxy as proxy
from tests.e2e.live_console import upstreams as upstreams
from tests.e2e.pairs import USUAL, earn_hedges
from tests.support import refusals, settings
from tests.support.upstream import good


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
    behaviours = []

    def slow_once(exchange):
        (behaviours.pop() if behaviours else USUAL)(exchange)

    for upstream in upstreams:
        upstream.always(slow_once)
    for i in range(40):  # now it is known what is usual
        assert send(proxy, f"usual-{i}", "hedged").status == 200
    earn_hedges(proxy, "hedged", lambda: send(proxy, "usual", "hedged"))
    behaviours.append(refusals.delayed(20, good))
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
    page.press("Enter", leaves=True)
    assert page.text("h2") == "newest"
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
