"""The page Playground in a real Chromium, with the vectors of the embedded model."""

import json
import re

import numpy as np
import pytest

from app.database.engine import Database
from app.database.migrations import migrate
from tests.e2e.conftest import ADMIN_KEY, XSS_KEY
from tests.support import settings
from tests.support.server import Proxy, eventually

TEXTS = [
    "I forgot my password",
    "My password is wrong",
    "The parcel is late",
    "Where is my parcel?",
]
MARKUP = "<img src=x onerror=\"document.title='xss'\">"
PACKED = "JSON.parse(document.querySelector('[name=vectors]').value)"
POOR_KEY = "sk-proxy-with-two-requests-a-minute"


@pytest.fixture
def page(browser, console_proxy):
    with browser.open(console_proxy.url) as opened:
        opened.login(settings.KEY)
        opened.goto("/console/playground")
        yield opened


def embed(page, texts=TEXTS, **fields):
    """Fill the form in, send it, and return the status."""
    fields = {"texts": "\n".join(texts), "model": "wordllama", **fields}
    for name, value in fields.items():
        page.evaluate(f"document.getElementById('{name}').value = {json.dumps(value)}")
    return page.click("#embed", leaves=True)


def contents(page, selector):
    """Return the text of every element, of a drawing too."""
    every = f"[...document.querySelectorAll({selector!r})]"
    return page.evaluate(f"{every}.map((e) => e.textContent)")


def vectors_of(proxy, texts, model="wordllama", **fields):
    """Return the vectors that the API gives."""
    answer = proxy.client().post({"model": model, "input": texts, **fields})
    return np.array([one["embedding"] for one in answer.json["data"]])


def cosines_of(vectors):
    scaled = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled @ scaled.T


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_playground_is_accessible_in_both_colours_and_on_a_phone(
    browser, console_proxy, scheme, width
):
    with browser.open(console_proxy.url, scheme=scheme, width=width) as page:
        page.login(ADMIN_KEY)
        page.goto("/console/playground")
        page.screenshot(f"playground-form-{scheme}-{width}")
        page.check_accessibility()
        page.click("#embed", leaves=True)  # the example
        page.screenshot(f"playground-{scheme}-{width}")
        page.check_accessibility()
        embed(page, [f"text {i} of many" for i in range(120)], other="steady")
        page.screenshot(f"playground-two-{scheme}-{width}")
        page.check_accessibility()
        page.check_quiet()


def test_drawings_show_what_numpy_computes_of_the_vectors_of_the_api(page, console_proxy):
    assert embed(page) == 200
    vectors = vectors_of(console_proxy, TEXTS)
    shown = cosines_of(vectors)
    written = contents(page, "svg.heat text.on-light, svg.heat text.on-dark")
    assert np.allclose(np.array(written, float).reshape(4, 4), shown, atol=0.0051)
    below = [shown[i, j] * 1000 for i in range(4) for j in range(i)]
    values = page.evaluate("document.querySelector('svg.heat').dataset.values").split()
    assert np.allclose(np.array(values, float), below, atol=0.51)
    first = page.texts("table.nearest tbody tr")[0]
    off_diagonal = shown - 2 * np.eye(4)
    i, j = sorted(divmod(int(off_diagonal.argmax()), 4))
    assert f"{shown[i, j]:.3f}" in first
    assert first.startswith(f"{i + 1} {TEXTS[i]}\n{j + 1} {TEXTS[j]}")
    centred = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    centred -= centred.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :2] * singular[:2]
    places = """[...document.querySelectorAll("svg.map circle")].map(
        (circle) => [circle.cx.baseVal.value, circle.cy.baseVal.value])"""
    placed = np.array(page.evaluate(places))
    drawn, real = (np.linalg.norm(p[:, None] - p[None], axis=2) for p in (placed, expected))
    assert np.allclose(drawn / drawn.max(), real / real.max(), atol=0.002)


def test_the_vectors_of_the_page_and_of_its_file_are_those_of_the_api(page, console_proxy):
    embed(page, dimensions="64", input_type="query")
    expected = vectors_of(console_proxy, TEXTS, dimensions=64)
    kept = page.evaluate(f"({PACKED}).vectors")
    assert kept
    asked = page.evaluate(
        """(async () => {
          const form = document.querySelector(".download");
          const body = new FormData(form, form.querySelector("[value=json]"));
          const answer = await fetch(form.action, {method: "POST", body});
          return [answer.headers.get("content-disposition"), await answer.json()];
        })()"""
    )
    assert asked[0] == 'attachment; filename="embeddings-wordllama.json"'
    given = [one["embedding"] for one in asked[1]["data"]]
    assert np.allclose(given, expected, atol=1e-7)


def test_newcomer_sees_vectors_after_one_click(page):
    assert page.evaluate("document.getElementById('model').value") == "wordllama"
    assert page.click("#embed", leaves=True) == 200
    assert page.text(".figures dd").startswith("9 of 256")
    assert len(page.texts("svg.map circle")) == 9


def waits_for_reading(page, drawing, beginning):
    """Wait until the line below a drawing begins so."""
    place = f"document.querySelector('svg.{drawing}').closest('figure').querySelector('.readout')"
    page.wait(f"{place}.textContent.startsWith({beginning!r})")


def test_text_of_a_point_is_shown_on_hover_and_by_the_keyboard(page):
    embed(page)
    page.evaluate("document.querySelector('svg.map circle').focus()")
    waits_for_reading(page, "map", "1: I forgot my password")
    page.press("ArrowRight")
    waits_for_reading(page, "map", "2: My password is wrong")
    assert page.evaluate("document.querySelectorAll('tr.lit').length") == 1
    page.evaluate("document.querySelector('svg.heat').focus()")
    page.press("ArrowDown")
    waits_for_reading(page, "heat", "1.000: 2 My password is wrong · 2 My")
    page.press("ArrowRight")
    waits_for_reading(page, "heat", "-0.081: 2 My password is wrong · 3 The")
    point = "document.querySelector('.point[data-number=\"4\"] circle')"
    page.evaluate(f"{point}.dispatchEvent(new PointerEvent('pointerover', {{bubbles: true}}))")
    waits_for_reading(page, "map", "4: Where is my parcel?")
    page.check_quiet()


def test_two_models_are_side_by_side(page):
    embed(page, other="steady")
    assert len(page.texts("svg.heat")) == 2
    assert "256 and 32 values wide" in page.text("section[aria-labelledby=comparison]")
    embed(page, dimensions="64", other="wordllama")
    assert "lowest 1.000000" in page.text("section[aria-labelledby=comparison]")


def test_request_of_a_side_leads_to_its_story(browser, console_proxy):
    with browser.open(console_proxy.url) as page:
        page.login(ADMIN_KEY)
        page.goto("/console/playground")
        embed(page, other="steady", dimensions="7")
        assert "cannot give vectors of that width" in page.text("[role=alert]")
        assert page.click("[role=alert] a", leaves=True) == 200
        page.goto("/console/playground")
        embed(page)
        assert page.click(".side a", leaves=True) == 200
        assert page.path().startswith("/console/request?id=req_")
        assert "wordllama" in page.text("main")


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
        assert embed(page) == 200
        assert embed(page) == 200
        assert embed(page) == 429
        assert "Rate limit reached" in page.text("[role=alert]")
        assert page.evaluate("document.getElementById('texts').value").split("\n") == TEXTS
        page.check_accessibility()
        page.screenshot("playground-429")
        page.evaluate("document.querySelector('#model option').value = 'steady'")
        assert embed(page, model="steady") == 403
        assert "may not use the model" in page.text("[role=alert]")
        rows = eventually(lambda: usage_of(proxy), what="the ledger has the requests")
        assert [(r["key"], r["requests"]) for r in rows] == [("poor", 4)]


def usage_of(proxy):
    rows = proxy.client(ADMIN_KEY).get("/v1/usage?by=key").json["data"]
    return rows if rows and sum(row["requests"] for row in rows) == 4 else None
