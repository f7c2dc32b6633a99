"""The console's pages Use and Keys in a real Chromium, and what they change for the SDK."""

import csv
import io
import json
import time

import openai
import pytest

from app.database.engine import Database
from app.usage.store.store import Store
from tests.e2e.conftest import ADMIN_KEY, XSS_NAME
from tests.support import settings
from tests.support.server import at_once, eventually
from tests.usage.conftest import row


@pytest.fixture(scope="module")
def usage(console_keys):
    """Requests of the last 20 days in the ledger: of two models, keys with markup and users."""
    database, now = Database(console_keys.url), int(time.time() * 1000)
    users = ["u-17", "alice@example.com", "", "=1+1", XSS_NAME]
    keys, models = ["narrow", "tests", XSS_NAME], ["steady", "wordllama"]
    rows = [
        row(n, writer="made-up", time=now - n * 4_000_000, key=keys[n % 3], user=users[n % 5],
            model=models[n % 2], prompt_tokens=n * 10, cost=n * 10**7, ms=n,
            status=503 if n % 40 == 0 else 200)
        for n in range(1, 400)
    ]  # fmt: skip
    Store(database).insert(rows)
    yield rows
    database.close()


@pytest.fixture
def admin(browser, console_proxy, usage):
    with browser.open(console_proxy.url) as page:
        page.login(ADMIN_KEY)
        yield page


def outcome(proxy, key, **fields):
    """Embed with the SDK; return "ok", or the code of the error."""
    with openai.OpenAI(base_url=f"{proxy.url}/v1", api_key=key, max_retries=0) as client:
        try:
            client.embeddings.create(model="steady", input="a text", **fields)
        except openai.APIStatusError as error:
            return error.code
    return "ok"


def every(proxy, key, code, **fields):
    """Wait until every worker answers so."""
    eventually(lambda: set(at_once(lambda: outcome(proxy, key, **fields), 8)) == {code})


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("dark", 390)])
def test_pages_are_accessible_in_both_colours_and_on_a_phone(
    browser, console_proxy, console_keys, usage, scheme, width
):
    name = f"team-{scheme}-{width}"
    with browser.open(console_proxy.url, scheme=scheme, width=width) as page:
        page.login(ADMIN_KEY)
        page.goto("/console/keys/new")
        page.type("#name", name)
        page.type("#tokens_per_month", "100,000")
        page.screenshot(f"key-new-{scheme}-{width}")
        page.check_accessibility()
        assert page.click("main .rights button.primary", leaves=True) == 200
        page.check_accessibility()
        for path, picture in (
            ("use?since=30d&by=key&then=model", "use"),
            ("use?since=24h&by=user&measure=cost", "use-hours"),
            ("use/block?kind=user&name=u-17", "block"),
            ("keys", "keys"),
            (f"keys/key?name={name}", "key"),
        ):
            assert page.goto(f"/console/{path}") == 200
            page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")
            page.check_accessibility()
            page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = false })")
            page.screenshot(f"{picture}-{scheme}-{width}")
        page.check_quiet()
    console_keys.revoke(name)


def test_key_made_in_the_console_works_in_the_sdk_until_it_is_revoked(admin, console_proxy):
    admin.goto("/console/keys")
    admin.click(".heading a.primary", leaves=True)
    admin.type("#name", "made-here")
    admin.click("input[name=every_model]")
    admin.click("input[name=models][value=steady]")
    assert admin.click("main .rights button.primary", leaves=True) == 200
    key = admin.text("#plaintext")
    every(console_proxy, key, "ok")
    admin.goto("/console/keys/key?name=made-here")
    assert key not in admin.evaluate("document.documentElement.outerHTML")
    admin.type("#requests_per_minute", "1")
    admin.click("main .rights button.primary", leaves=True)
    assert admin.text(".message") == "The key made-here is changed: limits."
    every(console_proxy, key, "rate_limit_exceeded")
    admin.type("#requests_per_minute", "")
    admin.click("main .rights button.primary", leaves=True)
    admin.click("form[action$=rotate] button", leaves=True)
    new = admin.text("#plaintext")
    every(console_proxy, new, "ok")
    every(console_proxy, key, "ok")  # in its grace period
    admin.goto("/console/keys/key?name=made-here")
    assert "an older key of this name is valid until" in admin.text("main").lower()
    assert [text.split()[0] for text in admin.texts("section:last-of-type tbody th")][:2] == [
        "rotate",
        "edit",
    ]
    admin.click("details summary")
    admin.click("form[action$=revoke] button", leaves=True)
    assert "is revoked" in admin.text(".message")
    for ended in (key, new):
        every(console_proxy, ended, "invalid_api_key")
    admin.check_quiet()


def test_user_is_blocked_from_the_table_and_unblocked(admin, console_proxy):
    every(console_proxy, settings.KEY, "ok", user="u-17")
    admin.goto("/console/use?by=user&since=30d")
    admin.click("a[aria-label='Block user u-17…']", leaves=True)
    assert "u-17" in admin.text("main")
    admin.type("#reason", "a loop")
    admin.click("main button.primary", leaves=True)
    assert admin.text(".message").startswith("The end user u-17 is blocked for a day.")
    assert "a loop" in admin.text("section[aria-labelledby=blocked] tbody")
    every(console_proxy, settings.KEY, "user_blocked", user="u-17")
    assert outcome(console_proxy, settings.KEY, user="u-18") == "ok"
    admin.click("button[aria-label='Unblock u-17']", leaves=True)
    every(console_proxy, settings.KEY, "ok", user="u-17")


def test_key_of_the_settings_is_blocked_with_its_session(admin, browser, console_proxy):
    with browser.open(console_proxy.url) as other:
        other.login(settings.NARROW_KEY)
        assert other.goto("/console/use") == 200
        admin.goto("/console/use/block?kind=key&name=narrow")
        admin.click("main button.primary", leaves=True)
        every(console_proxy, settings.NARROW_KEY, "key_blocked")
        eventually(lambda: other.goto("/console/use") == 403)
        admin.click("button[aria-label='Unblock narrow']", leaves=True)
        every(console_proxy, settings.NARROW_KEY, "ok")
        eventually(lambda: other.goto("/console/use") == 200)


def test_figures_sort_by_links_and_download_as_csv(admin, usage):
    admin.goto("/console/use?by=model&since=30d&key=narrow")
    assert admin.has("svg[role=img] path.c1")
    link = "[...document.querySelectorAll('thead a')].find((a) => a.innerText === 'Cost')"
    assert admin.evaluate(f"{link}.closest('th').ariaSort") is None
    path = admin.evaluate(f"{link}.href").removeprefix(admin.url).partition("#")[0]
    admin.goto(path)
    assert admin.evaluate(f"{link}.closest('th').ariaSort") == "descending"
    of_key = [r for r in usage if r[4] == "narrow"]
    text = admin.evaluate("fetch(document.querySelector('a[download]').href).then((a) => a.text())")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    found = sum(int(r["requests"]) for r in rows)
    assert len(of_key) <= found  # with those of the other tests
    text = admin.evaluate("fetch('use/csv?by=user&since=30d').then((answer) => answer.text())")
    users = {r["user"] for r in csv.DictReader(io.StringIO(text, newline=""))}
    assert {"'=1+1", "u-17", XSS_NAME} <= users


def test_bar_says_what_it_is_made_of(admin):
    admin.goto("/console/use?by=model&since=7d")
    last = "[...document.querySelectorAll('.places rect')].at(-2)"
    admin.evaluate(f"{last}.dispatchEvent(new PointerEvent('pointerenter'))")
    _, total, *parts = admin.text(".tip").splitlines()
    assert total.endswith(" in all")
    assert sorted(part.partition(":")[0] for part in parts) == ["steady", "wordllama"]
    assert int(total.split()[0]) == sum(int(part.split()[-1]) for part in parts)
    admin.screenshot("use-bar")
    admin.evaluate(
        "document.querySelector('.plane').dispatchEvent(new PointerEvent('pointerleave'))"
    )
    assert not admin.evaluate("document.querySelector('.tip').checkVisibility()")


def test_names_of_users_and_keys_are_not_read_as_markup(admin, console_keys):
    for path in ("use?by=key&then=user&since=30d", "use?by=user&since=30d", "keys"):
        admin.goto(f"/console/{path}")
        assert XSS_NAME in admin.text("main")
        assert not admin.has("main img")
        assert "xss" not in admin.evaluate("document.title")
    admin.goto(f"/console/use?by={json.dumps(XSS_NAME)}")
    assert not admin.has("main img")
    admin.check_quiet()


def test_plain_key_sees_its_own_use_and_no_keys(browser, console_proxy, usage):
    with browser.open(console_proxy.url) as page:
        page.login(settings.NARROW_KEY)
        assert page.texts("nav a")[:1] == ["Use"]
        assert "Keys" not in page.texts("nav a")
        assert page.goto("/console/use?since=30d") == 200
        page.screenshot("use-of-a-key")
        page.check_accessibility()
        assert page.text("h1 + p").startswith("Of your key")
        assert "Block" not in page.text("main")
        for path in ("keys", "keys/new", "keys/key?name=x", "use/block?kind=user&name=x"):
            assert page.goto(f"/console/{path}") == 403
