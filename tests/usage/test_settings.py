"""USAGE, OIDC and the block lists: accepted values, and messages for mistakes."""

import pytest

from app import config
from app.config import OidcSettings, UsageSettings

SQLITE = {"url": "sqlite:////var/lib/usage.db"}
POSTGRESQL = {"url": "postgresql://me:sesame@db/usage"}
OIDC = {"issuer": "https://id", "audience": "proxy", "jwks_url": "https://id/jwks"}


def settings(**others):
    return {
        "PROVIDERS": {"openai": {"kind": "openai", "api_key": "sk"}},
        "MODELS": {"m": {"deployments": [{"provider": "openai", "model": "x"}]}},
        "KEYS": {"team": {"sha256": "0" * 64}},
        **others,
    }


def mistakes(**others):
    with pytest.raises(config.SettingsError) as caught:
        config.check(settings(**others))
    return str(caught.value).splitlines()


def test_ledger_and_oidc_are_off_by_default():
    checked = config.check(settings())
    assert (checked.usage, checked.oidc) == (None, None)
    assert not checked.blocked_keys | checked.blocked_users | checked.trusted_proxies


def test_spool_of_sqlite_is_beside_its_file():
    usage = config.check(settings(USAGE=SQLITE)).usage
    assert usage == UsageSettings(SQLITE["url"], "/var/lib/usage.db-spool")


def test_repr_of_postgresql_settings_has_no_password():
    unusual = {"requests_per_hour": 5, "tokens_per_hour": None}
    given = {**POSTGRESQL, "spool": "/spool", "retention_days": None, "unusual": unusual}
    usage = config.check(settings(USAGE=given)).usage
    assert usage.url == "postgresql+psycopg://me:sesame@db/usage"
    assert (usage.spool, usage.retention_days) == ("/spool", None)
    assert (usage.unusual.requests_per_hour, usage.unusual.tokens_per_hour) == (5, None)
    assert "sesame" not in repr(usage)
    assert config.check(settings(USAGE=POSTGRESQL)).usage.spool == "usage-spool"


@pytest.mark.parametrize(
    "url", ["", "sqlite://", "sqlite:///", "sqlite:///:memory:", "mysql://x/y", "usage.db"]
)
def test_other_databases_are_a_mistake(url):
    (line,) = mistakes(USAGE={"url": url})
    assert line.startswith("USAGE['url']: must ")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("app.config.addresses.find_spec", lambda name: None)
    assert mistakes(USAGE=SQLITE) == [
        "USAGE['url']: needs the package 'sqlalchemy': pip install '.[usage]'",
    ]


def test_a_mistake_in_the_ledger_is_named():
    assert mistakes(USAGE={**SQLITE, "retention": 5}) == [
        "USAGE['retention']: unknown setting (did you mean 'retention_days'?)"
    ]
    assert mistakes(USAGE={**SQLITE, "unusual": {"requests_per_hour": 0}}) == [
        "USAGE['unusual']['requests_per_hour']: must be greater than or equal to 1"
    ]


def test_oidc_settings_are_read():
    oidc = config.check(settings(OIDC=OIDC)).oidc
    assert oidc == OidcSettings("https://id", ("proxy",), "https://id/jwks", claims={"name": "sub"})
    given = {
        **OIDC,
        "audience": ["a", "b"],
        "algorithms": ["ES256"],
        "claims": {"name": "email", "admin": "groups"},
        "admins": ["ops"],
        "models": ["m"],
        "limits": {"requests_per_minute": 5},
    }
    oidc = config.check(settings(OIDC=given)).oidc
    assert (oidc.audience, oidc.algorithms) == (("a", "b"), ("ES256",))
    assert oidc.claims == {"name": "email", "admin": "groups"}
    assert (oidc.admins, oidc.models) == (frozenset(["ops"]), frozenset(["m"]))
    assert oidc.limits == {"requests_per_minute": 5}


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"jwks_url": "http://id/jwks"}, "OIDC['jwks_url']: must be an https:// address"),
        ({"jwks_url": "ftp://localhost/jwks"}, "OIDC['jwks_url']: must be an https:// address"),
        ({"audience": []}, "OIDC['audience']: must be a name, or a list of names"),
        ({"audience": 5}, "OIDC['audience']: must be a name, or a list of names"),
        ({"algorithms": ["HS256"]}, "OIDC['algorithms'][0]: must be one of"),
        ({"algorithms": ["none"]}, "OIDC['algorithms'][0]: must be one of"),
        ({"claims": {"colour": "x"}}, "OIDC['claims']['colour']: must be one of"),
        ({"admins": ["ops"]}, "OIDC['admins']: needs both"),
        ({"claims": {"admin": "groups"}}, "OIDC['admins']: needs both"),
        ({"limits": {"requests": 5}}, "OIDC['limits']['requests']: unknown setting"),
    ],
)
def test_a_mistake_about_tokens_is_named(changed, line):
    (found,) = mistakes(OIDC={**OIDC, **changed})
    assert found.startswith(line)


def test_jwks_on_loopback_may_use_http():
    given = {**OIDC, "jwks_url": "http://127.0.0.1:5/jwks"}
    assert config.check(settings(OIDC=given)).oidc.jwks_url == given["jwks_url"]


@pytest.mark.parametrize("other", [{"OIDC": OIDC}, {"USAGE": {**SQLITE, "keys": True}}])
def test_keys_may_be_empty_with_other_authenticators(other):
    checked = config.check(settings(KEYS={}, BLOCKED_KEYS=["oidc:jane"], **other))
    assert checked.keys == {}
    assert checked.blocked_keys == {"oidc:jane"}
    assert "no key may call the proxy" in mistakes(KEYS={}, USAGE=SQLITE)[0]


def test_blocked_key_must_exist_if_all_keys_are_known():
    blocked = settings(BLOCKED_KEYS=["team"], BLOCKED_USERS=["u"])
    assert config.check(blocked).blocked_users == {"u"}
    assert mistakes(BLOCKED_KEYS=["taem"]) == [
        "BLOCKED_KEYS[0]: no key 'taem' in KEYS (did you mean 'team'?)"
    ]


def test_trusted_proxies_are_addresses_networks_or_any():
    given = ["10.0.0.1", "fd00::/8", "*"]
    assert config.check(settings(TRUSTED_PROXIES=given)).trusted_proxies == set(given)
    assert mistakes(TRUSTED_PROXIES=["nginx"]) == [
        "TRUSTED_PROXIES[0]: must be an address, a network (10.0.0.0/8) or '*'"
    ]


def test_workers_read_the_checked_text_and_not_the_file(tmp_path, monkeypatch):
    path, kept = tmp_path / "settings.py", tmp_path / "kept"
    path.write_text("nonsense(")
    kept.write_text("BLOCKED_USERS = ['kept']\n")
    monkeypatch.setenv("PROXY_SETTINGS", str(path))
    monkeypatch.setenv("ALPHANEURAL_API_KEY", "sk-mine")
    with kept.open("rb") as file:
        monkeypatch.setenv("PROXY_SETTINGS_FD", str(file.fileno()))
        assert config.load().blocked_users == {"kept"}
        assert config.load().blocked_users == {"kept"}  # from its start each time
    monkeypatch.delenv("PROXY_SETTINGS_FD")
    with pytest.raises(config.SettingsError, match="line 1"):
        config.load()
