"""The page Playground in a real Chromium, with the vectors of the embedded model."""

import numpy as np
import pytest

from tests.e2e.conftest import ADMIN_KEY
from tests.e2e.playground import PACKED, TEXTS, contents, cosines_of, embed, vectors_of
from tests.e2e.playground import page as page
from tests.support.server import eventually


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


def test_request_of_a_side_leads_to_what_happened(browser, console_proxy):
    with browser.open(console_proxy.url) as page:
        page.login(ADMIN_KEY)
        page.goto("/console/playground")
        embed(page, other="steady", dimensions="7")
        assert "cannot give vectors of that width" in page.text("[role=alert]")
        page.click("[role=alert] a", leaves=True)
        assert_shows_a_request(page)
        page.goto("/console/playground")
        embed(page)
        page.click(".side a", leaves=True)
        assert_shows_a_request(page)
        assert "wordllama" in page.text("main")


def assert_shows_a_request(page):
    assert page.path().startswith("/console/request?id=req_")
    # A worker that does not answer the other one within a quarter of a second is left out.
    eventually(lambda: page.goto(page.path()) == 200)
