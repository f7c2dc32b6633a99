"""The sources of rows and the purchases of a request, on which its cost depends."""

import time

import pytest

from app import config
from app.cache.memory import MemoryCache
from app.dispatch import Dispatcher
from app.domain import FROM_CACHE, Caller, EmbeddingRequest
from app.pipeline import Pipeline
from tests.api.fake import WIDTH, FakeProvider
from tests.api.fake import settings as app_settings

ITEMS = [f"text {n}" for n in range(60)]


@pytest.fixture
def providers():
    """Two providers with three items a call: larger requests are split over both."""
    return {name: FakeProvider(max_inputs=3) for name in ("one", "other")}


@pytest.fixture
def run(providers):
    """Embeds items with both providers."""
    deployments = [{"provider": name, "model": f"{name}'s"} for name in providers]
    model = {"dimensions": WIDTH, "deployments": deployments, "space": "tests"}
    made = app_settings(
        PROVIDERS={name: {"kind": "openai", "api_key": "sk"} for name in providers},
        MODELS={"embed": model, "steady": model},
    )
    pipeline = Pipeline(Dispatcher(config.check(made), providers), MemoryCache(2**20, 60))

    def run(items, **fields):
        return pipeline.run(EmbeddingRequest("embed", items, **fields), Caller("me"), deadline())

    return run


def deadline():
    return time.monotonic() + 60


def source_of(providers, item):
    """Return the deployment that has embedded an item."""
    (name,) = [name for name, provider in providers.items() if item in provider.items]
    return name, f"{name}'s"


@pytest.mark.parametrize("caching", [False, True])
def test_sources_name_the_deployment_of_each_row(run, providers, caching):
    outcome = run(ITEMS, caching=caching)
    assert list(outcome.sources) == [source_of(providers, item) for item in ITEMS]
    assert set(outcome.provider.split(",")) == {name for name, _ in outcome.sources} == {*providers}


def test_source_of_cached_rows_is_the_cache(run, providers):
    run(ITEMS[:20], caching=True)
    outcome = run(ITEMS + ITEMS[-1:], caching=True)
    fresh = [source_of(providers, item) for item in ITEMS[20:]]
    assert outcome.sources == [FROM_CACHE] * 20 + fresh + fresh[-1:]
    assert run(ITEMS, caching=True).sources == []


def test_single_source_is_listed_once(run, providers):
    (source,) = run(["a"]).sources
    assert source == source_of(providers, "a")
    (source,) = run(["a", "b"], caching=True).sources
    assert source in [("one", "one's"), ("other", "other's")]
