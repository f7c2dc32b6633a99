"""The code that the page shows does what was done, whatever the texts hold."""

import ast
import json
import shlex
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from app.console.playground.code import MAX_TEXTS, examples

TEXTS = st.lists(st.text(min_size=1).filter(lambda t: "\r" not in t), min_size=1, max_size=5)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "dimensions": st.integers(1, 64),
        "user": st.text(max_size=9),
        "input_type": st.sampled_from(["query", "document"]),
        "caching": st.just(True),
    },
)
BASE = "https://host.test/v1"


@given(TEXTS, FIELDS)
def test_each_language_sends_the_request(texts, fields):
    payload = {"model": "a 'model' \"of\" ${HOME}", "input": texts, **fields}
    curl, python, javascript = (e.text for e in examples(BASE, payload))
    shown = [t if len(t) <= 120 else None for t in texts[:MAX_TEXTS]]
    expected = {**payload, "input": shown}
    assert json.loads(body_of_curl(curl)) == expected
    assert arguments_of(python) == expected
    body = javascript.partition("create(")[2].rpartition(");\nconst")[0]
    assert json.loads(body) == expected
    assert "PROXY_KEY" in curl
    assert "PROXY_KEY" in python
    assert "PROXY_KEY" in javascript


def body_of_curl(text):
    words = shlex.split(text)
    assert words[:2] == ["curl", f"{BASE}/embeddings"]
    return words[words.index("-d") + 1]


def arguments_of(python):
    """Run the code with a client that keeps its arguments."""
    seen = {}

    def create(**arguments):
        seen.update(arguments.pop("extra_body", {}), **arguments)
        return SimpleNamespace(data=[])

    def client(base_url, api_key):
        assert (base_url, api_key) == (BASE, "the key")
        return SimpleNamespace(embeddings=SimpleNamespace(create=create))

    code = python.replace("from openai import OpenAI\n", "").replace("import os\n", "")
    ast.parse(python)
    environ = {"PROXY_KEY": "the key"}
    exec(code, {"OpenAI": client, "os": SimpleNamespace(environ=environ)})
    return seen
