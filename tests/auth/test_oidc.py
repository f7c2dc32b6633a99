"""Tokens: signature, issuer, audience and times are checked; claims set rights and limits."""

import json
import time

import pytest

from app.auth import oidc as module
from app.auth.jwks import Jwks
from app.auth.oidc import JwtAuthenticator
from app.config import OidcSettings
from app.errors import Unauthorized
from tests.auth.oidc_tokens import BAD, EC, OTHER, RSA, URL, document, public, token


class Provider:
    """The identity provider's JWKS."""

    def __init__(self, *keys):
        self.data = document(*keys)
        self.fetches = 0

    def __call__(self, url):
        assert url == URL
        self.fetches += 1
        if isinstance(self.data, Exception):
            raise self.data
        return self.data


@pytest.fixture
def provider():
    return Provider(public(RSA, "one"), public(EC, "two", use="sig"))


@pytest.fixture
def make(provider):
    """Makes an authenticator with the given settings."""

    def make(**options):
        settings = OidcSettings(
            "https://id", ("proxy",), URL, **{"claims": {"name": "sub"}, **options}
        )
        jwks = Jwks(URL, settings.refresh, provider, min_interval_s=0.01, wait_s=5)
        jwks.update()
        jwks.start()
        started.append(jwks)
        return JwtAuthenticator(settings, jwks)

    started = []
    yield make
    for jwks in started:
        jwks.stop()
        assert jwks._task.stop(5)


def test_valid_token_identifies_caller(make):
    tokens = make()
    caller, networks = tokens.identify(token())
    assert (caller.name, caller.models, caller.admin, networks) == ("oidc:alice", None, False, ())
    assert tokens.identify(token(EC, "two", "ES256", aud=["x", "proxy"]))[0] == caller


@pytest.mark.parametrize("trick", BAD)
def test_invalid_token_is_refused(make, trick):
    tokens = make(algorithms=("RS256", "ES256"))
    given = BAD[trick]()
    for _ in range(2):
        with pytest.raises(Unauthorized) as caught:
            tokens.identify(given)
        assert given not in str(caught.value)


def test_leeway_tolerates_clock_differences(make):
    make(leeway=30).identify(token(exp=int(time.time()) - 20, nbf=int(time.time()) + 20))


def test_claims_set_rights_and_limits(make):
    tokens = make(
        claims={
            "name": "email",
            "models": "scope",
            "admin": "realm.roles",
            "requests_per_minute": "https://x.y/rpm",
            "tokens_per_minute": "tpm",
            "dollars_per_month": "usd",
            "warn_at": "warn",
            "service_tiers": "tiers",
            "share": "weight",
        },
        admins=frozenset(["ops"]),
        models=frozenset(["small"]),
        limits={"requests_per_minute": 10, "tokens_per_minute": 20, "service_tier": "flex"},
    )
    said = {
        "scope": "a b",
        "realm": {"roles": ["x", "ops"]},
        "https://x.y/rpm": 5,
        "usd": 1.5,
        "warn": 0.8,
        "tiers": "flex priority",
        "weight": 3,
    }
    caller, _ = tokens.identify(token(email="a@b", tpm=True, **said))
    assert (caller.name, caller.models, caller.admin) == ("oidc:a@b", frozenset("ab"), True)
    assert (caller.requests_per_minute, caller.tokens_per_minute) == (5, 20)
    assert (caller.dollars_per_month, caller.warn_at) == (1.5, 0.8)
    assert (caller.service_tier, caller.share) == ("flex", 3)
    assert caller.service_tiers == {"flex", "priority"}
    listed, _ = tokens.identify(token(email="a@b", tiers=["default"]))
    assert listed.service_tiers == {"default"}
    plain, _ = tokens.identify(token(email="c", realm=["x"], tpm=-1))
    assert (plain.models, plain.admin, plain.requests_per_minute) == ({"small"}, False, 10)
    assert tokens.identify(token(email="d", scope=["*", 5]))[0].models is None
    assert tokens.identify(token(email="e", scope=[]))[0].models == frozenset()


@pytest.mark.parametrize("given", [{"roles": ["small"]}, 7, True], ids=str)
def test_a_claim_of_models_that_is_no_list_permits_none_and_is_logged(make, caplog, given):
    tokens = make(claims={"name": "sub", "models": "access"})
    assert tokens.identify(token(access=given))[0].models == frozenset()
    assert "the claim 'access' is no list" in caplog.text


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("dollars_per_month", float("inf")),
        ("dollars_per_month", float("nan")),
        ("dollars_per_month", 1e7),
        ("dollars_per_month", "5"),
        ("warn_at", 7),
        ("tokens_per_day", 1.5),
        ("tokens_per_day", [5]),
        ("share", "2"),
        ("service_tier", "auto"),
        ("service_tiers", "flex scale"),
        ("service_tiers", 5),
        ("fair_users", 1),
    ],
)
def test_claim_that_is_no_valid_limit_is_ignored_and_logged(make, caplog, limit, value):
    before = {"dollars_per_month": 2.0, "warn_at": 0.5, "tokens_per_day": 9}
    before |= {"share": 4.0, "fair_users": True, "service_tier": "flex"}
    before |= {"service_tiers": frozenset(["flex"])}
    claims = {"name": "sub", limit: "given"}
    tokens = make(claims=claims, limits=before)
    caller, _ = tokens.identify(token(given=value))
    assert {name: getattr(caller, name) for name in before} == before
    assert f"the claim 'given' is ignored: {limit}" in caplog.text


def test_a_signature_is_checked_once_until_the_keys_change_or_the_token_ends(
    make, provider, monkeypatch
):
    tokens, given = make(leeway=0), token()
    tokens.identify(given)
    monkeypatch.setattr(module.jwt, "decode", None)
    tokens.identify(given)
    with pytest.raises(Unauthorized):  # `decode` is called, and it is None
        tokens.identify(token(sub="bob"))
    provider.data = document(public(RSA, "one"))
    tokens._jwks.update()
    with pytest.raises(Unauthorized):
        tokens.identify(given)
    monkeypatch.undo()
    tokens.identify(given)
    now = time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + 61)
    monkeypatch.setattr(module.jwt, "decode", None)
    with pytest.raises(Unauthorized):
        tokens.identify(given)


@pytest.mark.parametrize("name", ["a\nb", "\ud800", "a" * 201, "", 5])
def test_token_without_valid_name_is_refused(make, name):
    tokens = make(claims={"name": "email"})
    with pytest.raises(Unauthorized, match="does not name its owner"):
        tokens.identify(token(email=name))


def test_keys_that_are_not_for_signatures_are_left_out(provider, make):
    secret = {"kty": "oct", "kid": "s", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "alg": "HS256"}
    provider.data = document(public(RSA, "enc", use="enc"), secret, public(OTHER, None))
    tokens = make()
    tokens.identify(token(OTHER, None))
    assert list(tokens._jwks._keys) == [None]


def test_invalid_entries_of_jwks_are_skipped(provider, make):
    odd = [{"kty": "RSA", "kid": "x", "n": 5, "e": []}, {"kty": "EC", "kid": ["l"]}, 7]
    provider.data = document(*odd, public(RSA, ["a", "list"]), public(RSA, "one"))
    make().identify(token())


def seal(digest):
    """A session of a token keeps its claims: nothing is sealed."""
    raise AssertionError


def test_remembered_token_is_recalled_without_it(make):
    tokens = make(claims={"name": "sub", "admin": "roles"}, admins=frozenset({"ops"}))
    given = token(roles=["ops"], email="alice@example.org")
    remembered = json.loads(json.dumps(tokens.remember(given, seal)))
    assert given not in str(remembered)
    assert "example.org" not in str(remembered)  # claims that say nothing of the caller
    caller, networks = tokens.recall(remembered, seal)
    assert (caller.name, caller.admin, networks) == ("oidc:alice", True, ())
    demoted = make(claims={"name": "sub", "admin": "roles"}, admins=frozenset({"root"}))
    assert not demoted.recall(remembered, seal)[0].admin


@pytest.mark.parametrize("trick", BAD)
def test_invalid_token_is_not_remembered(make, trick):
    with pytest.raises(Unauthorized):
        make(algorithms=("RS256", "ES256")).remember(BAD[trick](), seal)


def test_remembered_token_ends_when_it_expires(make, monkeypatch):
    tokens = make(leeway=0)
    now = int(time.time())
    remembered = tokens.remember(token(exp=now + 60), seal)
    assert remembered["end"] == now + 60
    monkeypatch.setattr(module.time, "time", lambda: now + 60)
    with pytest.raises(Unauthorized):
        tokens.recall(remembered, seal)


def test_remembered_token_ends_with_the_key_that_signed_it(make, provider):
    tokens = make()
    remembered = tokens.remember(token(), seal)
    provider.data = document(public(EC, "two", use="sig"))
    tokens._jwks.update()
    with pytest.raises(Unauthorized):
        tokens.recall(remembered, seal)


@pytest.mark.parametrize(
    "change", [{"iss": "https://other"}, {"aud": "other"}, {"aud": []}, {"aud": None}]
)
def test_remembered_token_of_another_issuer_or_audience_is_refused(make, change):
    tokens = make()
    remembered = {**tokens.remember(token(), seal), **change}
    with pytest.raises(Unauthorized):
        tokens.recall(remembered, seal)


def test_remembered_key_is_no_token(make):
    with pytest.raises(Unauthorized):
        make().recall({"name": "oidc:alice", "seal": "x"}, seal)
