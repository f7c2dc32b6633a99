"""Whose an error is: caller, policy, provider, dependency or proxy."""

from __future__ import annotations

from app.errors import ClientError

SIDES = ("caller", "policy", "provider", "dependency", "proxy")
#: The side that caused an error, by its status. Other statuses below 500 are of the caller, others
#: of the proxy. A provider's 429, and a timeout that the caller has set, count for the provider.
_SIDES = {401: "policy", 403: "policy", 429: "policy", 502: "provider", 504: "provider"}
_SIDES_BY_CODE = {
    "no_provider_available": "provider",
    "space_drifted": "provider",
    "overloaded": "policy",
    # An outage of a database, an identity provider or a limits server is an expected state.
    "keys_unavailable": "dependency",
    "usage_unavailable": "dependency",
}


def side_of(error: ClientError, admitted: bool) -> str:
    """Return the cause of an error: caller, policy, provider, dependency or proxy."""
    if error.status == 429 and admitted:
        return "provider"  # after the limits of the key: all providers have answered 429
    default = "caller" if error.status < 500 else "proxy"
    return _SIDES_BY_CODE.get(error.code or "") or _SIDES.get(error.status, default)
