"""Rate limits and the administrator's routes, over HTTP."""

import pytest

from app.errors import ConnectionFailed
from tests.api.fake import app_with, ask, error_of
from tests.support.settings import KEYS, key

LIMITED = {"Authorization": "Bearer sk-limited"}
ADMIN = {"Authorization": "Bearer sk-admin"}


@pytest.fixture
def limited(monkeypatch, provider):
    """An app with a key limited to two requests a minute, and an administrator's key."""
    keys = {
        **KEYS,
        "limited": {**key("sk-limited", "*"), "requests_per_minute": 2, "tokens_per_minute": 1000},
        "admin": {**key("sk-admin", "*"), "admin": True},
    }
    return app_with(monkeypatch, provider, KEYS=keys)


def test_rate_limit_headers_and_429_over_the_limit(limited, provider):
    for left in ("1", "0"):
        headers = ask(limited, headers=LIMITED, input="one two").headers
        assert headers["x-ratelimit-limit-requests"] == "2"
        assert headers["x-ratelimit-remaining-requests"] == left
        assert headers["x-ratelimit-limit-tokens"] == "1000"
        assert headers["x-ratelimit-reset-requests"][-1] == "s"
    refused = ask(limited, headers=LIMITED)
    error = error_of(refused)
    assert (error.status, error.code, error.type) == (429, "rate_limit_exceeded", "requests")
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert len(provider.calls) == 2


def test_a_request_that_fails_costs_no_tokens(limited, provider):
    provider.fail = RuntimeError("a bug")
    response = ask(limited, headers=LIMITED)
    assert response.status_code == 502
    assert response.headers["x-ratelimit-remaining-tokens"] == "1000"


def test_keys_without_limits_get_no_rate_limit_headers(limited):
    assert not [name for name, _ in ask(limited).headers if "ratelimit" in name.lower()]


def test_providers_are_for_administrators_only(limited):
    listed = limited.get("/v1/providers", headers=ADMIN).json
    assert listed["object"] == "list"
    assert {row["provider"] for row in listed["data"]} == {"fake"}
    assert "secret" not in str(listed)
    error = error_of(limited.get("/v1/providers", headers=LIMITED))
    assert (error.status, error.code) == (403, "admin_required")
    assert error_of(limited.get("/v1/providers")).status == 401


def test_ready_names_models_without_deployment(limited, provider):
    provider.fail = ConnectionFailed("could not be reached")
    for _ in range(2):
        ask(limited, model="steady", headers=ADMIN)
    response = limited.get("/health/ready")
    assert response.status_code == 503
    assert response.json == {"status": "unavailable", "models": ["steady"]}
    assert limited.get("/health/live").status_code == 200
