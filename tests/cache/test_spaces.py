"""The cache and the vector space: no vector of another space is served, by either level."""

import hashlib

import numpy as np
import pytest

from app.domain import Vectors
from app.factory import create_app
from app.providers import registry
from app.providers.base import Capabilities
from tests.api.fake import WIDTH, FakeProvider, ask, settings
from tests.redis.patience import PATIENT_S
from tests.support.server import eventually


class Embeds:
    """A provider whose vectors depend on all that a call says: model, fields and item."""

    capabilities = Capabilities()

    def __init__(self):
        self.items = []

    def limits(self, _model):
        return self.capabilities

    def embed(self, call, _deadline):
        self.items += call.items
        rows = [self.row(call, item) for item in call.items]
        return Vectors(rows, [1] * len(rows))

    @staticmethod
    def row(call, item):
        seed = hashlib.sha1(f"{call.model}{item}{call.passed}".encode()).digest()
        numbers = np.random.default_rng(list(seed)).standard_normal(WIDTH)
        return numbers.astype("<f4").tobytes()


@pytest.fixture
def installation(monkeypatch, valkey, redis, patient_steps):
    """Makes an app as another worker would, its provider and its cache."""
    made = []

    def installation(upstream="text-embedding-3-small", url=valkey.url, kind=None, **model):
        provider, caches = Embeds(), []
        monkeypatch.setattr(registry, "make", lambda _: provider)

        def keep(*args):
            caches.append(make_cache(*args))
            return caches[-1]

        monkeypatch.setattr("app.factory.make_cache", keep)
        deployments = [{"provider": "fake", "model": upstream}]
        names = ("embed", "steady", "org/model")
        models = {n: {"dimensions": WIDTH, "deployments": deployments, **model} for n in names}
        given = settings(CACHE={"ttl": 3600, "url": url, "timeout": PATIENT_S}, MODELS=models)
        given["PROVIDERS"]["fake"] |= kind or {}
        client = create_app(given).test_client()
        made.append(caches[0])
        return client, provider, caches[0]

    from app.cache import make_cache

    yield installation
    for cache in made:
        cache.close()


def rows(response):
    assert response.status_code == 200, response.text
    return [item["embedding"] for item in response.json["data"]]


def test_repointed_alias_never_gets_vectors_of_the_old_model(installation):
    old, _, cache = installation("text-embedding-3-small")
    before = rows(ask(old, input=["hello"], caching=True))
    assert cache.shared.flush()
    new, provider, _ = installation("bge-small-v2")  # of the same width
    mixed = ask(new, input=["hello", "new"], caching=True)
    assert mixed.headers["x-proxy-cache"] == "miss"
    assert rows(mixed)[:1] == rows(ask(new, input=["hello"])) != before
    assert provider.items == ["hello", "new", "hello"]


@pytest.mark.parametrize(
    ("kind", "option"),
    [("cohere", {"input_type": "clustering"}), ("cohere", {"truncate": "END"})],
)
def test_changed_option_never_gets_the_vectors_of_before(installation, kind, option):
    old, _, cache = installation(kind={"kind": kind})
    rows(ask(old, input=["hello"], caching=True))
    assert cache.shared.flush()
    new, provider, _ = installation(kind={"kind": kind, **option})
    assert ask(new, input=["hello"], caching=True).headers["x-proxy-cache"] == "miss"
    assert provider.items == ["hello"]


def test_aliases_of_one_space_share_entries(installation):
    client, provider, cache = installation()
    rows(ask(client, input=["hello"], caching=True))
    hit = ask(client, model="steady", input=["hello"], caching=True)
    assert hit.headers["x-proxy-cache"] == "hit"
    assert cache.shared.flush()
    other, other_provider, _ = installation()  # another installation of the same model
    assert ask(other, input=["hello"], caching=True).headers["x-proxy-cache"] == "hit"
    assert (provider.items, other_provider.items) == (["hello"], [])


def test_named_space_is_shared_whatever_serves_it(installation):
    one, _, cache = installation(space="openai/text-embedding-3-small")
    before = rows(ask(one, input=["hello"], caching=True))
    assert cache.shared.flush()
    azure = {"kind": "azure", "base_url": "https://a.example"}
    other, _, _ = installation("emb3s", kind=azure, space="openai/text-embedding-3-small")
    assert rows(ask(other, input=["hello"], caching=True)) == before


def test_models_of_one_space_and_different_widths_share_nothing(monkeypatch):
    """Both are cut from the same vectors, so the operator may give them one name."""
    monkeypatch.setattr(registry, "make", lambda _: FakeProvider())
    deployments = [{"provider": "fake", "model": "m"}]
    models = {"steady": {"dimensions": WIDTH, "deployments": deployments}} | {
        f"{width}": {"dimensions": width, "space": "s", "deployments": deployments}
        for width in (WIDTH, WIDTH // 2)
    }
    client = create_app(settings(MODELS=models)).test_client()
    for width in (WIDTH, WIDTH // 2):
        answer = ask(client, model=f"{width}", input=["hello"], caching=True)
        assert answer.headers["x-proxy-cache"] == "miss"
        assert [len(row) for row in rows(answer)] == [width]
    assert (
        ask(client, model=f"{WIDTH}", input=["hello"], caching=True).headers["x-proxy-cache"]
        == "hit"
    )


def test_entries_of_the_layout_before_are_misses(installation, redis):
    client, provider, cache = installation()
    rows(ask(client, input=["hello"], caching=True))
    assert cache.shared.flush()
    (name,) = redis.keys("*:v:*")
    value = redis.get(name)
    redis.flushdb()
    # Version 1 had the model's digest in its names, and no id in its entries.
    old = b"\x01" + value[1:17] + value[-4 * WIDTH :]
    redis.set(name.replace(b"embeddings:2:", b"embeddings:1:"), old)
    redis.set(name, old)
    fresh, provider, cache = installation()
    eventually(lambda: cache.shared.remote.ready())
    assert ask(fresh, input=["hello"], caching=True).headers["x-proxy-cache"] == "miss"
    assert provider.items == ["hello"]


@pytest.mark.parametrize(("named", "shared"), [({}, False), ({"space": "one"}, True)])
def test_models_of_one_name_at_two_addresses_share_vectors_only_in_a_named_space(
    monkeypatch, capsys, named, shared
):
    made = {}

    def provider_at(own):
        made[own.name] = Embeds()
        made[own.name].address = own.base_url
        return made[own.name]

    monkeypatch.setattr(registry, "make", provider_at)
    names = ("one", "other", "alias")
    at = {
        "one": "http://one.example",
        "other": "http://other.example",
        "alias": "http://one.example",
    }
    given = settings(
        PROVIDERS={n: {"kind": "tei", "base_url": at[n]} for n in names},
        MODELS={
            n: {"dimensions": WIDTH, "deployments": [{"provider": n, "model": "tei"}], **named}
            for n in names
        },
    )
    for key in given["KEYS"].values():
        key["models"] = ["*"]
    client = create_app(given).test_client()
    states = [
        ask(client, model=name, input=["x"], caching=True).headers["x-proxy-cache"]
        for name in names
    ]
    assert states == ["miss", "hit" if shared else "miss", "hit"]
    assert ("one derived id" in capsys.readouterr().out) is not shared


def test_address_of_a_vendor_is_the_same_with_and_without_base_url(capsys):
    default = {"kind": "openai", "api_key": "k"}
    given = settings(
        PROVIDERS={
            "one": default,
            "other": {**default, "base_url": "https://api.openai.com/v1/"},
        },
        MODELS={
            name: {"dimensions": WIDTH, "deployments": [{"provider": name, "model": "m"}]}
            for name in ("one", "other")
        },
    )
    for key in given["KEYS"].values():
        key["models"] = ["*"]
    create_app(given)
    assert "one derived id" not in capsys.readouterr().out
