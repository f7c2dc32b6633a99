"""A text of megabytes does not block a worker, in the embedded model or in a tokenizer."""

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest
import wordllama

from tests.support import settings
from tests.support.server import Proxy
from tests.support.upstream import Upstream

TOKENIZER = Path(wordllama.__file__).parent / "tokenizers" / "l2_supercat_tokenizer_config.json"
SIZE = 5_000_000
TEXTS = {
    "words": "lorem ipsum " * (SIZE // 12),
    "one word": "a" * SIZE,
    "no spaces": "日本" * 2_000_000,
}
LATEST_S = 0.9  # a worker that is blocked answers after 1.7 to 4 s
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


def slowest_while(proxy, work):
    """The slowest answer to others, in seconds, while ``work`` is done; and what it returned."""
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(work)
        slowest = 0.0
        while not long.done():
            began = time.monotonic()
            assert proxy.client().get("/health/live").status == 200
            slowest = max(slowest, time.monotonic() - began)
    return slowest, long.result()


@pytest.mark.parametrize("text", TEXTS)
def test_others_are_served_while_a_long_text_is_embedded(proxy, text):
    tries = []
    # Other processes may take the processors for a while; a worker that is blocked is, each time.
    while len(tries) < 4 and (not tries or max(tries[-1]) >= LATEST_S):
        slowest, answer = slowest_while(
            proxy, lambda: proxy.client().embed("wordllama", TEXTS[text], timeout=TIMEOUT_S)
        )
        assert (answer.status, answer.error["code"]) == (504, "timeout")
        tries.append((slowest, answer.seconds - TIMEOUT_S))
    assert max(tries[-1]) < LATEST_S, tries


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    """A gevent worker before a server that cuts what is long, with limits but for one model."""
    directory = tmp_path_factory.mktemp("limited")
    with Upstream(width=settings.WIDTH) as upstream:
        cuts = settings.provider(upstream, kind="infinity")
        deployment = {"provider": "cuts", "model": "BAAI/bge-small-en-v1.5"}
        models = {
            "known": {"deployments": [deployment], "tokenizer": str(TOKENIZER)},
            "own": {
                "deployments": [{**deployment, "max_item_tokens": 100}],
                "tokenizer": str(TOKENIZER),
            },
            "none": {"deployments": [deployment]},
            "texts": {
                "deployments": [{**deployment, "max_item_tokens": None}],
                "tokenizer": str(TOKENIZER),
            },
        }
        keys = {"tests": settings.key(settings.KEY, "*")}
        path = settings.settings_file(directory, {"cuts": cuts}, models, keys)
        with Proxy(directory, path, worker_class="gevent") as started:
            started.upstream = upstream
            yield started


@pytest.mark.parametrize(("model", "limit"), [("known", 512), ("own", 100)])
def test_a_text_over_the_limit_is_openais_error(limited, model, limit):
    address = f"{limited.url}/v1"
    with openai.OpenAI(base_url=address, api_key=settings.KEY, max_retries=0) as client:
        with pytest.raises(openai.BadRequestError) as raised:
            client.embeddings.create(model=model, input=["short", "word " * limit])
        fitting = client.embeddings.create(model=model, input="word " * (limit // 2))
    error = raised.value.body
    assert f"This model's maximum context length is {limit} tokens" in error["message"]
    assert error["type"] == "invalid_request_error"
    assert (error["param"], error["code"]) == ("input", None)
    assert len(fitting.data) == 1


def test_a_start_names_deployments_that_cut_silently_once(limited):
    (line,) = [line for line in limited.stdout().splitlines() if "cut silently" in line]
    assert json.loads(line)["level"] == "warning"
    assert "cuts/BAAI/bge-small-en-v1.5 of none, cuts/BAAI/bge-small-en-v1.5 of texts:" in line
    assert "of own" not in line


def peak_memory_mb(proxy):
    """The most memory that its only worker had so far."""
    (worker,) = proxy.workers()
    return (
        int(re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{worker}/status").read_text())[1]) / 1024
    )


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_of_megabytes_is_refused_before_its_end_is_counted(limited, text):
    """Also one without a place to cut; the memory does not grow with it."""
    before, memory_mb = len(limited.upstream.calls), peak_memory_mb(limited)
    answer = limited.client().embed("own", TEXTS[text])
    assert (answer.status, answer.error["param"]) == (400, "input")
    assert "however you requested at least" in answer.error["message"]
    assert len(limited.upstream.calls) == before
    assert peak_memory_mb(limited) - memory_mb < 200


def test_long_token_ids_are_decoded_for_a_provider_of_texts(limited):
    ids = [22172, 3186] * 20_000
    assert limited.client().embed("texts", ids, timeout=30).status == 200
    assert limited.upstream.calls[-1].items == [("hello world " * 20_000).rstrip()]
