"""What settings become: frozen dataclasses, with defaults, without secrets in their repr."""

from dataclasses import FrozenInstanceError

import pytest

from app import config
from app.auth.authenticator import caller_of
from app.config import ModelSettings, ProviderSettings
from app.config.sections.keys import KEY_LIMITS
from app.config.sections.providers import AutoConcurrency
from app.providers import registry
from tests.checked_settings import SECRET, good
from tests.overlays import environment as environment


def test_settings_are_frozen():
    settings = good()
    settings["PROVIDERS"]["openai"] |= {
        "base_url": "https://host/v1",
        "timeout": 5,
        "headers": {"X-Team": "search"},
        "encoding": "float",
    }
    settings["MODELS"]["m"] |= {"matryoshka": [2, 4], "pass": ["task"], "hedge": True}
    settings["KEYS"]["k"] |= {"sha256": "AB" * 32, "models": ["m"], "admin": True}
    settings["CACHE"] = {"ttl": 5, "max_bytes": 10, "scope": "key", "url": None}
    checked = config.check(settings, registry)

    provider = checked.providers["openai"]
    assert (provider.name, provider.kind, provider.timeout) == ("openai", "openai", 5.0)
    assert provider.options == {"encoding": "float"}
    model = checked.models["m"]
    assert (model.name, model.matryoshka, model.passes) == ("m", (2, 4), frozenset({"task"}))
    assert model.deployments[0].provider == "openai"
    key = checked.keys["k"]
    assert (key.sha256, key.models, key.admin) == ("ab" * 32, frozenset({"m"}), True)
    assert (checked.cache.ttl, checked.cache.max_bytes, checked.cache.scope) == (5, 10, "key")
    with pytest.raises(FrozenInstanceError):
        model.name = "other"
    with pytest.raises(TypeError):
        checked.models["other"] = model


@pytest.mark.parametrize(
    ("value", "limit", "most"),
    [
        (8, 8, 8),
        ("auto", AutoConcurrency(1, 256), 256),
        ({"auto": [4, 32]}, AutoConcurrency(4, 32), 32),
    ],
    ids=str,
)
def test_concurrency_of_a_provider(value, limit, most):
    settings = good()
    settings["PROVIDERS"]["openai"]["concurrency"] = value
    provider = config.check(settings).providers["openai"]
    assert (provider.concurrency, provider.max_concurrency) == (limit, most)


def test_defaults_are_applied():
    checked = config.check(good())
    provider = checked.providers["openai"]
    assert (provider.timeout, provider.connect_timeout, provider.concurrency) == (60, 5, 64)
    assert checked.keys["k"].models is None
    assert (checked.limits.body_bytes, checked.limits.inputs) == (32 * 2**20, 8192)
    assert (checked.cache.ttl, checked.cache.max_bytes) == (3600, 256 * 2**20)
    assert config.check({**good(), "CACHE": None}).cache is None


@pytest.mark.parametrize("name", KEY_LIMITS)
def test_every_limit_of_a_key_is_a_limit_of_its_caller(name):
    settings = good()
    settings["KEYS"]["k"][name] = 1
    assert getattr(caller_of(config.check(settings).keys["k"]), name) == 1


def test_star_means_all_models():
    settings = good()
    settings["KEYS"]["k"]["models"] = ["m", "*"]
    assert config.check(settings).keys["k"].models is None


@pytest.mark.parametrize(
    ("given", "workers"), [(None, 1), ("", 1), ("4", 4), ("0", 1), ("-2", 1), ("many", 1)]
)
def test_number_of_workers_is_read(environment, given, workers):
    if given is not None:
        environment("WEB_CONCURRENCY", given)
    assert config.check(good()).workers == workers


@pytest.mark.parametrize(
    ("matryoshka", "widths"),
    [(False, set()), (True, set(range(1, 9))), ((2, 4), {2, 4})],
)
def test_allowed_widths_of_a_model(matryoshka, widths):
    model = ModelSettings("m", (), dimensions=8, matryoshka=matryoshka)
    assert {width for width in range(1, 20) if model.can_cut_to(width)} == widths


def test_no_repr_shows_a_secret():
    provider = ProviderSettings(
        "p",
        "openai",
        "https://host/v1",
        api_key=SECRET,
        proxy="http://user:pass@proxy",
        headers={"X-Api-Key": "hidden-too"},
    )
    for shown in (repr(provider), str(provider), f"{[provider]}"):
        for secret in (SECRET, "user:pass", "hidden-too"):
            assert secret not in shown
