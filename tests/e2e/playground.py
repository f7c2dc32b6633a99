"""The page Playground in the console's Chromium, and the vectors that it should show."""

import json

import numpy as np
import pytest

from tests.support import settings

TEXTS = [
    "I forgot my password",
    "My password is wrong",
    "The parcel is late",
    "Where is my parcel?",
]
PACKED = "JSON.parse(document.querySelector('[name=vectors]').value)"


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
