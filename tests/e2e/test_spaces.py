"""Vector spaces over the real server: no vector of an old or another model, in cache or index."""

import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import wordllama

from app.database.engine import Database
from app.database.migrations import migrate
from tests.conftest import WORKER_CLASSES
from tests.support import openai_style
from tests.support.server import ROOT, Proxy, eventually
from tests.support.settings import KEYS, provider, settings_file
from tests.support.upstream import Upstream
from tests.support.vectors import assert_answers

TOKENIZER = Path(wordllama.__file__).parent / "tokenizers" / "l2_supercat_tokenizer_config.json"
WIDTH = 32
OLD, NEW = "text-embedding-3-small", "bge-small-v2"


def by_model(exchange):
    """Answer with vectors that depend on the model, as those of real providers do."""
    body = exchange.call.body
    items = [f"{body['model']}: {item}" for item in exchange.call.items]
    exchange.reply(200, openai_style.answer({**body, "input": items}, WIDTH, strict=True))


def assert_of(answer, model, texts):
    assert answer.status == 200, answer.text
    assert_answers(answer.json, [f"{model}: {text}" for text in texts], WIDTH)


@pytest.fixture
def upstream():
    with Upstream(WIDTH) as server:
        server.always(by_model)
        yield server


@pytest.fixture
def install(tmp_path, upstream):
    """Starts proxies with the model "search", which this model of the provider serves."""
    with ExitStack() as stack:

        def install(served, worker_class="gevent", start=True, **others):
            number = len(list(tmp_path.iterdir()))
            directory = tmp_path / f"installation-{number}"
            directory.mkdir()
            proxy = Proxy(
                directory,
                settings(directory, served, upstream, **others),
                worker_class=worker_class,
            )
            proxy.directory = directory
            return stack.enter_context(proxy) if start else proxy

        yield install


def settings(directory, served, upstream, **others):
    def model(name):
        return {"dimensions": WIDTH, "deployments": [{"provider": "p", "model": name}]}

    models = {"search": model(served), "old": model(OLD), "new": model(NEW)}
    keys = {"tests": KEYS["tests"]}
    return settings_file(directory, {"p": provider(upstream)}, models, keys, **others)


def insist(client, space, model):
    """Ask for a vector of this space and no other."""
    body = {"model": model, "input": ["hello"], "caching": True}
    return client.post(body, x_proxy_space=space)


def cache_in(valkey):
    """A cache that a first request waits for: a miss is one of the entry, not of the server."""
    return {"ttl": 600, "url": valkey.url, "timeout": 5}


def is_stored(redis, number):
    eventually(lambda: len(redis.keys("*:v:*")) >= number, what=f"{number} entries")


@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
def test_repointed_model_serves_no_old_vector(install, upstream, valkey, redis, worker_class):
    cache = cache_in(valkey)
    proxy = install(OLD, worker_class, CACHE=cache)
    client = proxy.client()
    first = client.embed("search", ["hello"], caching=True)
    assert_of(first, OLD, ["hello"])
    stored = first.headers["x-proxy-space"]
    is_stored(redis, 1)
    assert client.embed("old", ["hello"], caching=True).headers["x-proxy-cache"] == "hit"

    before = set(proxy.workers())
    settings(proxy.directory, NEW, upstream, CACHE=cache)
    proxy.process.send_signal(signal.SIGHUP)
    eventually(lambda: len(proxy.workers()) == 1 and not before & set(proxy.workers()), 60)
    mixed = client.embed("search", ["hello", "another"], caching=True)
    assert mixed.headers["x-proxy-cache"] == "miss"
    assert_of(mixed, NEW, ["hello", "another"])
    calls = len(upstream.calls)
    refused = insist(client, stored, "search")
    assert (refused.status, refused.error["code"]) == (412, "space_changed")
    assert len(upstream.calls) == calls
    assert_of(insist(client, stored, "old"), OLD, ["hello"])


def test_installations_share_vectors_of_one_space_only(install, valkey, redis):
    cache = cache_in(valkey)  # in the default namespace
    one, same, other = (install(served, CACHE=cache).client() for served in (OLD, OLD, NEW))
    assert_of(one.embed("search", ["shared"], caching=True), OLD, ["shared"])
    is_stored(redis, 1)
    foreign = other.embed("search", ["shared"], caching=True)
    assert foreign.headers["x-proxy-cache"] == "miss"
    assert_of(foreign, NEW, ["shared"])
    shared = same.embed("search", ["shared"], caching=True)
    assert shared.headers["x-proxy-cache"] == "hit"
    assert_of(shared, OLD, ["shared"])


def test_the_ledger_has_the_space(install, tmp_path):
    url = f"sqlite:///{tmp_path}/usage.db"
    database = Database(url)
    migrate(database.engine)
    database.close()
    client = install(OLD, USAGE={"url": url, "spool": str(tmp_path / "spool")}).client()
    space = client.embed("search", "a").headers["x-proxy-space"]
    assert insist(client, "other", "search").status == 412
    assert client.embed("nope", "a").status == 404

    def rows():
        with closing(sqlite3.connect(tmp_path / "usage.db")) as connection:
            return connection.execute(
                "SELECT status, space, billed_tokens > 0 FROM usage_requests ORDER BY number"
            ).fetchall()

    eventually(lambda: len(rows()) == 3)
    assert rows() == [(200, space, 1), (412, space, 0), (404, "", 0)]


@pytest.mark.parametrize(("other", "code"), [("old", 0), ("new", 1)])
def test_two_models_are_compared(install, other, code):
    proxy = install(OLD, start=False)
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "check", "--compare", "search"]
    done = subprocess.run(
        [*command, other, "--json"], cwd=ROOT, env=proxy._environment, capture_output=True
    )
    assert done.returncode == code, done.stderr
    found = json.loads(done.stdout)
    assert found["is_one_space"] == (code == 0)
    assert (found["sides"][0]["space"] == found["sides"][1]["space"]) == (code == 0)


def test_token_ids_get_no_vector_of_another_tokenizers_text(tmp_path, upstream):
    """A provider that takes only text is sent what the model's tokenizer decodes ids to."""
    llama = json.loads(TOKENIZER.read_text())
    vocabulary = llama["model"]["vocab"]
    hello, world = vocabulary["▁hello"], vocabulary["▁world"]
    vocabulary |= {"▁hello": world, "▁world": hello}
    exchanged = tmp_path / "exchanged.json"
    exchanged.write_text(json.dumps(llama))
    copy = tmp_path / "copy.json"
    copy.write_text(TOKENIZER.read_text())

    deployment = {"provider": "p", "model": NEW}
    models = {
        name: {"dimensions": WIDTH, "deployments": [deployment], "tokenizer": str(path)}
        for name, path in {"one": TOKENIZER, "copy": copy, "exchanged": exchanged}.items()
    }
    providers = {"p": provider(upstream, kind="infinity")}
    path = settings_file(tmp_path, providers, models, {"tests": KEYS["tests"]})
    with Proxy(tmp_path, path) as proxy:
        for name, text, state in (
            ("one", "hello", "miss"),
            ("copy", "hello", "hit"),
            ("exchanged", "world", "miss"),
            ("exchanged", "world", "hit"),
            ("one", "hello", "hit"),
        ):
            answer = proxy.client().embed(name, [[hello]], caching=True)
            assert_of(answer, NEW, [text])
            assert answer.headers["x-proxy-cache"] == state
        # A text is the same by any tokenizer.
        for name, state in (("one", "miss"), ("exchanged", "hit")):
            answer = proxy.client().embed(name, ["hello"], caching=True)
            assert_of(answer, NEW, ["hello"])
            assert answer.headers["x-proxy-cache"] == state
