"""Credentials that cannot be sent, or do not last, are errors of the provider."""

import pytest

from app.errors import CredentialsRefused, ProviderError, Rejected
from app.providers.credentials.refreshing import Refreshing, sendable


@pytest.mark.parametrize("token", ["a\nb", "a b", "", "\x00", "\u0100", None, 5])
def test_token_that_is_no_valid_header_is_refused_when_fetched(token):
    with pytest.raises(CredentialsRefused, match="that cannot be sent"):
        sendable(token)
    assert sendable("eyJ0.e-_~+/=") == "eyJ0.e-_~+/="


@pytest.mark.parametrize("expires", [float("nan"), float("-inf"), 0.0])
def test_credential_with_invalid_expiry_is_fetched_again(expires):
    given, now = iter([("a", expires), ("b", 1e9)]), [100.0]
    credential = Refreshing(lambda: next(given), clock=lambda: now[0], rng=lambda: 1.0)
    with pytest.raises(ProviderError):
        credential.get()
    now[0] += 1
    assert credential.get() == "b"


def test_each_caller_gets_its_own_complete_exception():
    def fetch():
        raise Rejected("no", param="input", too_large=True)

    credential = Refreshing(fetch, clock=lambda: 100.0)
    errors = []
    for _ in range(2):
        with pytest.raises(Rejected) as raised:
            credential.get()
        errors.append(raised.value)
    assert errors[0] is not errors[1]
    assert all((e.message, e.param, e.too_large) == ("no", "input", True) for e in errors)
