"""The commands ``cache stats`` and ``cache clear`` on a cache in use."""

import json
import re
import time

import pytest
from click.testing import CliRunner

from app.cache import admin
from app.cache.admin import clear, stats, table
from app.cache.entries import digest
from app.cache.memory import MemoryCache
from app.cache.shared import SharedCache
from app.cache.tiered import TieredCache
from app.cli import commands as cli
from tests.cache.contract import entry, key
from tests.cache.levels import level
from tests.redis.patience import PATIENT_S
from tests.support.server import eventually, free_port
from tests.test_config_spaces import space_of


@pytest.fixture
def make(valkey, redis, patient_steps):
    """Makes caches of both levels; each stands for one worker."""
    made = []

    def make():
        def second(cleared, report):
            return SharedCache(valkey.url, 3600, timeout=PATIENT_S, cleared=cleared, report=report)

        made.append(TieredCache(MemoryCache(2**20, 3600), second))
        return made[-1]

    yield make
    for cache in made:
        cache.close()


def fill(cache, model, numbers):
    level(cache, model, 8).put([(key(n), entry(n)) for n in numbers])
    assert cache.shared.flush()


def clear_and_poll(redis, cache, *space):
    """Clear, and wait until the worker has read which spaces were cleared; return the number."""
    before = cache._epoch
    removed = clear(redis, "embeddings", *space)
    eventually(lambda: cache._epoch > before)
    return removed


def test_clear_of_a_model_keeps_other_models(make, redis):
    one = make()
    fill(one, "m", range(5))
    fill(one, "n", range(3))
    assert clear_and_poll(redis, one, "m") == 5
    assert level(one).get([key(1)]) == [None]
    assert level(one, "n", 8).get([key(1)]) == [entry(1)]  # from the second level: memory is empty
    other = make()
    assert level(other).get([key(1)]) == [None]
    assert level(other, "n", 8).get([key(1)]) == [entry(1)]


def test_clear_removes_all_models_and_no_foreign_key(make, redis):
    one = make()
    fill(one, "m", range(5))
    fill(one, "n", range(3))
    redis.set("of another program", 1)
    assert clear_and_poll(redis, one) == 8
    assert redis.get("of another program")
    for model in ("m", "n"):
        assert level(one, model, 8).get([key(1)]) == [None]
    fill(one, "m", [1])
    assert level(one).get([key(1)]) == [entry(1)]


def test_entry_written_by_a_request_from_before_clear_is_not_found(make, redis):
    cache = make()
    under_way = level(cache)  # a request in flight
    clear_and_poll(redis, cache, "m")
    under_way.put([(key(1), entry(1))])
    assert cache.shared.flush()
    assert level(cache).get([key(1)]) == [None]
    assert level(make()).get([key(1)]) == [None]


def test_many_entries_are_removed_in_batches(make, redis, monkeypatch):
    monkeypatch.setattr(admin, "SCAN_COUNT", 10)
    fill(make(), "m", range(95))
    assert clear(redis, "embeddings", "m") == 95


def test_stats_list_models_and_workers(make, redis):
    one = make()
    fill(one, "m", range(5))
    fill(one, "old model", range(100, 160))
    level(one).get([key(1), key(1000)])
    fields = {"time": time.time() - 100}
    redis.hset("embeddings:2:workers", "gone:1", json.dumps(fields))
    eventually(lambda: _has_reported(redis, entries=65, misses=1))
    models = {"m": ["b", "a"], "never used": ["c"]}
    found = stats(redis, "embeddings", models)
    assert found["shared"].keys() == {"m", f"unknown ({digest('old model')})"}
    assert found["shared"]["m"]["entries"] == 5
    assert found["shared"]["m"]["models"] == ["a", "b"]
    of_space = stats(redis, "embeddings", models, "old model")["shared"]
    assert {name: row["entries"] for name, row in of_space.items()} == {"old model": 60}
    assert 5 * 49 < found["shared"]["m"]["bytes"] < 5 * 400
    (report,) = found["workers"].values()
    assert report["memory"] | {"bytes": 0} == {
        "hits": 1, "misses": 1, "evictions": 0, "bytes": 0, "entries": 65,
    }  # fmt: skip
    assert report["shared"]["misses"] == 1
    assert redis.hexists("embeddings:2:workers", "gone:1") is False
    text = table(found)
    assert re.search(r"^  m +5 +0\.0  a, b$", text, re.MULTILINE)
    assert "unknown" in text
    assert "1, 0, 0" in text or "0, 1, 0, 0" in text


def _has_reported(redis, entries, misses):
    """Return whether the worker has reported so many entries, and misses of both levels."""
    for name, value in redis.hgetall("embeddings:2:workers").items():
        report = json.loads(value)
        if name != b"gone:1":
            missed = report["memory"]["misses"], report["shared"]["misses"]
            return report["memory"]["entries"] == entries and missed == (misses, misses)
    return False


def test_stats_of_an_empty_cache_are_a_table(redis):
    text = table(stats(redis, "embeddings", {}))
    assert "(empty)" in text
    assert "none has used" in text


# Commands


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a command with these settings."""

    def run(cache, *arguments):
        path = tmp_path / "settings.py"
        path.write_text(f"CACHE = {cache!r}\n")
        monkeypatch.setenv("PROXY_SETTINGS", str(path))
        monkeypatch.setenv("ALPHANEURAL_API_KEY", "sk-test")
        return CliRunner().invoke(cli.cache, arguments)

    return run


def test_commands_print_stats_and_clear(run, make, valkey, redis):
    space = space_of("local", "l2_supercat")
    fill(make(), space, range(5))
    fill(make(), "a space of before", range(3))
    shown = run({"url": valkey.url}, "stats")
    assert shown.exit_code == 0
    assert re.search(rf"^  {space} +5 .* wordllama$", shown.output, re.MULTILINE)
    found = json.loads(run({"url": valkey.url}, "stats", "--json").output)
    assert found["shared"][space] == {"models": ["wordllama"], "entries": 5} | {
        "bytes": found["shared"][space]["bytes"]
    }
    only = run({"url": valkey.url}, "stats", "--json", "--space", "a space of before")
    assert list(json.loads(only.output)["shared"]) == ["a space of before"]
    cleared = run({"url": valkey.url}, "clear", "--model", "wordllama")
    assert cleared.output.startswith("5 entries removed.")
    cleared = run({"url": valkey.url}, "clear", "--space", "a space of before")
    assert cleared.output.startswith("3 entries removed.")
    assert run({"url": valkey.url}, "clear").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--model", "nope"], "no model 'nope' in MODELS (there are 'wordllama'). `cache stats`"),
        (["--model", "wordllama", "--space", "s"], "--space or --model, not both"),
    ],
)
def test_what_cannot_be_cleared_is_said(run, valkey, redis, arguments, text):
    result = run({"url": valkey.url}, "clear", *arguments)
    assert result.exit_code == 1
    assert text in result.output


@pytest.mark.parametrize(
    ("cache", "arguments", "text"),
    [
        (None, ["stats"], "nothing is cached"),
        ({}, ["stats"], "in the memory of each worker. Its numbers are in GET /metrics."),
        ({}, ["clear"], "restart the workers: send SIGHUP"),
        ({"url": f"redis://127.0.0.1:{free_port()}"}, ["clear"], "CACHE['url']: "),
        ({"url": f"redis+cluster://127.0.0.1:{free_port()}"}, ["stats"], "CACHE['url']: "),
    ],
)
def test_errors_of_commands_are_one_line(run, cache, arguments, text):
    result = run(cache, *arguments)
    assert result.exit_code == 1
    assert text in result.output


@pytest.mark.parametrize(
    "url",
    [
        "redis://:secret@h:6379/0", "rediss://h", "unix:///run/valkey.sock", "valkey://h",
        "redis+sentinel://a:1,b:2/it/0", "redis+cluster://a:1,b:2", "rediss+cluster://a:1",
    ],
)  # fmt: skip
def test_valid_urls_are_accepted(url):
    from app import config
    from tests.api.fake import settings

    for checked in (
        config.check(settings(CACHE={"url": url})).cache,
        config.check(settings(LIMITS={"url": url})).limits,
    ):
        assert checked.url == url
        assert "secret" not in repr(checked)


@pytest.mark.parametrize("url", ["redis://", "http://h", "h:6379", "unix://", "redis+other://h"])
def test_invalid_urls_are_refused(url):
    from app import config
    from tests.api.fake import settings

    with pytest.raises(config.SettingsError, match=r"CACHE\['url'\]: must be redis://host"):
        config.check(settings(CACHE={"url": url}))


def test_missing_redis_package_is_named(monkeypatch):
    from app import config
    from app.config import addresses
    from tests.api.fake import settings

    monkeypatch.setattr(addresses, "find_spec", lambda name: None)
    with pytest.raises(config.SettingsError, match=r"pip install '.\[redis\]'"):
        config.check(settings(CACHE={"url": "redis://h"}))


def test_namespaces_with_pattern_characters_are_refused():
    from app import config
    from tests.api.fake import settings

    with pytest.raises(config.SettingsError, match=r"CACHE\['namespace'\]: must be 1 to 64"):
        config.check(settings(CACHE={"namespace": "a*"}))
