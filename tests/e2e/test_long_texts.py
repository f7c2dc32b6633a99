"""A text of megabytes does not block a worker, in the embedded model or in a tokenizer."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import wordllama

from tests.support import settings
from tests.support.server import Proxy

TOKENIZER = Path(wordllama.__file__).parent / "tokenizers" / "l2_supercat_tokenizer_config.json"
SIZE = 5_000_000
TEXTS = {
    "words": "lorem ipsum " * (SIZE // 12),
    "one word": "a" * SIZE,
    "no spaces": "日本" * 800_000,
}
LATEST_S = 0.5
TIMEOUT_S = 1


@pytest.fixture(scope="module", params=[False, True], ids=["embedded", "counted"])
def proxy(request, tmp_path_factory):
    """One gevent worker with the embedded model, with or without a tokenizer setting."""
    directory = tmp_path_factory.mktemp("long")
    counted = f"""
MODELS["wordllama"]["tokenizer"] = {str(TOKENIZER)!r}
MODELS["wordllama"]["deployments"][0]["max_tokens"] = 1000
"""
    path = directory / "settings.py"
    path.write_text("from app.settings import *\n" + (counted if request.param else ""))
    with Proxy(directory, path, worker_class="gevent", ALPHANEURAL_API_KEY=settings.KEY) as started:
        assert started.client().embed("wordllama", "warm").status == 200
        yield started


@pytest.mark.parametrize("text", TEXTS)
def test_others_are_served_while_a_long_text_is_embedded(proxy, text):
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(proxy.client().embed, "wordllama", TEXTS[text], timeout=TIMEOUT_S)
        slowest = 0.0
        while not long.done():
            began = time.monotonic()
            assert proxy.client().get("/health/live").status == 200
            slowest = max(slowest, time.monotonic() - began)
    assert slowest < LATEST_S
    answer = long.result()
    assert (answer.status, answer.error["code"]) == (504, "timeout")
    assert answer.seconds < TIMEOUT_S + LATEST_S
