"""The console in a real Chromium: the way in, the frame, the page Settings."""

import pytest

from app.auth.key_entry import KeyEntry
from tests.e2e.conftest import ADMIN_KEY, XSS_KEY, XSS_NAME
from tests.support import settings
from tests.support.server import at_once, eventually


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_are_accessible_in_both_colours_and_on_a_phone(browser, console_proxy, scheme, width):
    with browser.open(console_proxy.url, scheme=scheme, width=width) as page:
        page.goto("/console")
        page.screenshot(f"login-{scheme}-{width}")
        page.check_accessibility()
        page.login(ADMIN_KEY)
        page.goto("/console/settings")
        page.wait("document.querySelector('#result .message')")
        page.screenshot(f"settings-{scheme}-{width}")
        page.check_accessibility()
        page.goto("/console/no/such/page")
        page.screenshot(f"error-{scheme}-{width}")
        page.check_accessibility()
        page.check_quiet()


def test_browser_is_led_to_the_login_and_back_to_the_page_it_asked_for(browser, console_proxy):
    with browser.open(console_proxy.url) as page:
        page.goto("/")
        assert page.path() == "/console/login"
        page.goto("/console/settings?a=1")
        assert page.path() == "/console/login?next=settings%3Fa%3D1"
        page.type("#key", ADMIN_KEY)
        page.press("Enter", leaves=True)
        assert page.path() == "/console/settings?a=1"
        (cookie,) = page.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (
            True,
            "Strict",
            "/console",
        )
        assert ADMIN_KEY not in page.evaluate("JSON.stringify(localStorage) + document.cookie")
        page.click(".who form button", leaves=True)
        assert page.text(".message") == "You have logged out."
        assert page.goto("/console/settings") == 200
        assert page.path().startswith("/console/login")


def test_link_on_another_site_opens_the_page_within_the_session(browser, console_proxy):
    """The cookie is SameSite=Strict; localhost is another site than 127.0.0.1."""
    with browser.open(console_proxy.url) as page:
        page.login(ADMIN_KEY)
        first = page.path()
        here, page.url = page.url, page.url.replace("127.0.0.1", "localhost")
        for path, seen in (("/console/settings?a=b", "/console/settings"), ("/", first)):
            page.goto("/docs")
            page.evaluate(f"setTimeout(() => {{ location.href = {here + path!r}; }}, 0)")
            # The page between, which goes on by itself, has the same path, and nobody logged in.
            page.wait(f"location.pathname === {seen!r} && document.querySelector('.who')")
        page.url = here
        page.goto("/console/login")
        assert page.path() == first


def test_wrong_key_is_refused_with_a_message(browser, console_proxy):
    with browser.open(console_proxy.url) as page:
        page.goto("/console/login")
        page.type("#key", "sk-wrong")
        assert page.click("main button", leaves=True) == 401
        assert page.text("[role=alert]") == "This key is not known, or has ended."
        page.check_accessibility()


def test_plain_key_sees_no_page_of_administrators(browser, console_proxy):
    with browser.open(console_proxy.url) as page:
        page.login(settings.KEY)
        assert "Settings" not in page.texts("nav a")
        assert page.goto("/console/settings") == 403
        page.check_accessibility()


def test_name_of_a_key_is_not_read_as_markup(browser, console_proxy):
    with browser.open(console_proxy.url) as page:
        page.login(XSS_KEY)
        assert page.text(".who .name") == XSS_NAME
        page.login(ADMIN_KEY)
        page.goto("/console/settings")
        assert "['<img src=x onerror=" in page.text("main")
        assert not page.has("main img, .who img")
        assert page.evaluate("document.title") == "Settings · Embeddings proxy"


def test_colours_can_be_chosen_and_are_kept(browser, console_proxy):
    background = "getComputedStyle(document.body).backgroundColor"
    with browser.open(console_proxy.url, scheme="light") as page:
        page.goto("/console/login")
        light = page.evaluate(background)
        page.click("#theme")
        dark = page.evaluate(background)
        assert dark != light
        page.goto("/console/login")
        assert page.evaluate(background) == dark
        assert page.evaluate("document.getElementById('theme').ariaLabel") == "Use light colours"
        page.click("#theme")
        assert page.evaluate(background) == light


def test_keyboard_reaches_the_content_first(browser, console_proxy):
    with browser.open(console_proxy.url) as page:
        page.login(ADMIN_KEY)
        page.goto("/console/settings")
        page.press("Tab")
        assert page.evaluate("document.activeElement.innerText") == "Skip to the content"
        page.press("Enter")
        page.wait("document.activeElement.id === 'main'")


def test_session_ends_with_its_key(browser, console_proxy, console_keys):
    key = console_keys.new(KeyEntry("of-a-session"))
    asked = console_proxy.client(key)
    eventually(
        lambda: {a.status for a in at_once(lambda: asked.get("/v1/models"))} == {200},
        what="every worker knows the key",
    )
    with browser.open(console_proxy.url) as page:
        eventually(lambda: logs_in(page, key), what="the other worker knows the key, too")
        console_keys.revoke("of-a-session")
        eventually(lambda: is_logged_out(page), what="the session has ended")


def logs_in(page, key) -> bool:
    page.goto("/console/login")
    page.type("#key", key)
    page.click("main button", leaves=True)
    return not page.has("#key")


def is_logged_out(page) -> bool:
    page.goto("/console")
    return page.path().startswith("/console/login")


def test_chart_is_drawn_in_the_colours_of_the_page(browser, console_proxy):
    with browser.open(console_proxy.url, scheme="light") as page:
        page.login(ADMIN_KEY)
        page.goto("/console/settings")
        page.evaluate(CHART)
        page.wait("document.querySelector('.chart canvas')")
        assert "answered: last 30/s, least 10/s, most 30/s" in page.evaluate(
            "document.querySelector('.chart .plot').ariaLabel"
        )
        page.evaluate("document.querySelector('.chart details').open = true")
        page.wait("document.querySelectorAll('.chart tbody tr').length === 3")
        light = page.evaluate(PIXELS)
        page.check_accessibility()
        page.screenshot("chart-light", whole=False)
        page.click("#theme")
        page.wait(f"{PIXELS} !== {light!r}")
        page.screenshot("chart-dark", whole=False)
        page.check_quiet()


PIXELS = "document.querySelector('.chart canvas').toDataURL()"
CHART = """(async () => {
  const base = document.querySelector("script[type=module]").src;
  const { timeSeries } = await import(new URL("charts.js", base));
  const figure = document.createElement("figure");
  figure.className = "chart card";
  document.querySelector("main").prepend(figure);
  const chart = await timeSeries(figure, {
    label: "Requests", unit: "/s", series: [{ label: "answered" }, { label: "refused" }],
  });
  const now = 1800000000;
  const marks = [{ time: now + 1, label: "reload" }];
  chart.show([now, now + 2, now + 4], [[10, 20, 30], [1, null, 3]], marks);
})()"""
