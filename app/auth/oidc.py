"""Authenticate by tokens of an identity provider (OpenID Connect) instead of keys.

PyJWT checks signature, ``iss``, ``aud``, ``exp`` and ``nbf``; the claims become a `Caller`. The
provider's public keys come from `app.auth.jwks`.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jwt
from cachetools import LRUCache
from jwt.types import Options

from app.auth.authenticator import Network, Seal, caller_of
from app.auth.jwks import Jwks
from app.concurrency.locks import uncontended_lock
from app.config import KeySettings, OidcSettings
from app.config.sections.services import check_limits
from app.domain import Caller
from app.errors import Unauthorized

_log = logging.getLogger("app.auth")

MAX_TOKENS_REMEMBERED = 10_000  # tokens with a checked signature
_WRONG = "Incorrect API key provided."


class JwtAuthenticator:
    """A `KeySource` of signed tokens (JWT)."""

    def __init__(self, settings: OidcSettings, jwks: Jwks) -> None:
        self._settings = settings
        self._jwks = jwks
        self._lock = uncontended_lock()  # guards _known
        # By the token's SHA-256: the version of the keys, the token's end (since 1970), its owner.
        self._known: LRUCache[bytes, tuple[int, float, Caller]] = LRUCache(MAX_TOKENS_REMEMBERED)

    def identify(self, key: str) -> tuple[Caller, tuple[Network, ...]]:
        """Return a token's owner; a token is bound to no networks.

        Raises `Unauthorized`, or `KeysUnavailable` if its key is not known and cannot be fetched.
        """
        if key.count(".") != 2:
            raise Unauthorized(_WRONG)
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        with self._lock:
            version, end, caller = self._known.get(digest, (-1, 0.0, None))
        if caller is not None and version == self._jwks.version and time.time() < end:
            return caller, ()
        version = self._jwks.version  # before the key is looked up
        claims, end = self._check(key)
        caller = _caller(claims, self._settings)
        with self._lock:
            self._known[digest] = (version, end, caller)
        return caller, ()

    def remember(self, key: str, seal: Seal) -> Mapping[str, Any]:
        """Return the claims that its owner is made of, and ``end``: when the token expires.

        Raises as `identify`.
        """
        if key.count(".") != 2:
            raise Unauthorized(_WRONG)
        claims, end = self._check(key)
        _caller(claims, self._settings)  # raises where it names no owner
        kept = {path: _claim(claims, path) for path in self._settings.claims.values()}
        kid = jwt.get_unverified_header(key).get("kid")
        issued = {"iss": claims["iss"], "aud": claims["aud"]}
        return {**issued, "kid": kid, "end": end, "claims": kept}

    def recall(
        self, remembered: Mapping[str, Any], seal: Seal
    ) -> tuple[Caller, tuple[Network, ...]]:
        """Return the owner that the claims describe, by the settings as they are now.

        Raises `Unauthorized` where the token has expired, or the provider has withdrawn its key;
        `KeysUnavailable` as `identify`.
        """
        settings, audience = self._settings, remembered.get("aud")
        audience = [audience] if isinstance(audience, str) else audience or ()
        is_ours = remembered.get("iss") == settings.issuer
        if not is_ours or not set(settings.audience).intersection(audience):
            raise Unauthorized(_WRONG)
        if time.time() >= remembered["end"] or self._jwks.find(remembered["kid"]) is None:
            raise Unauthorized(_WRONG)
        return _caller(remembered["claims"], settings), ()

    def _check(self, token: str) -> tuple[dict[str, Any], float]:
        """Return the claims, and when the token ends (since 1970). Raises as `identify`."""
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in self._settings.algorithms:
                raise Unauthorized("The token is signed in a way that is not accepted here.")
            kid = header.get("kid")
            key = self._jwks.find_known(kid)
            if key is None:
                self._decode(token, None)  # a token with wrong claims must cause no fetch
                key = self._jwks.find(kid)
            if key is None:
                raise Unauthorized(_WRONG)
            claims = self._decode(token, key)
            return claims, float(claims["exp"]) + self._settings.leeway
        except jwt.ExpiredSignatureError as error:
            raise Unauthorized("The token has expired.") from error
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
            raise Unauthorized(_WRONG) from error

    def _decode(self, token: str, key: jwt.PyJWK | None) -> dict[str, Any]:
        """Check the claims, and the signature if a key is given; return the claims."""
        settings = self._settings
        options: Options = {"require": ["exp", "iss", "aud"], "strict_aud": False}
        if key is None:
            options["verify_signature"] = False  # PyJWT then skips the other checks, too
            options |= {"verify_exp": True, "verify_nbf": True}
            options |= {"verify_aud": True, "verify_iss": True}
        decoded: dict[str, Any] = jwt.decode(
            token,
            key.key if key is not None else "",
            list(settings.algorithms),
            audience=list(settings.audience),
            issuer=settings.issuer,
            leeway=settings.leeway,
            options=options,
        )
        return decoded


def _caller(claims: Mapping[str, Any], settings: OidcSettings) -> Caller:
    """Return the caller that the claims describe.

    Its name begins with ``oidc:``, so that it cannot equal the name of a key.
    """
    values = {field: _claim(claims, path) for field, path in settings.claims.items()}
    name = values.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= 200 or not name.isprintable():
        raise Unauthorized("The token does not name its owner.")
    models = settings.models
    if values.get("models") is not None:  # without the claim, the settings' own are permitted
        given = _words(values["models"])
        if given is None:  # a wrong path of the claim must not permit every model
            _log.warning(
                "%s: the claim %r is no list: it permits no model", name, settings.claims["models"]
            )
        models = None if "*" in (given or ()) else frozenset(given or ())
    limits: dict[str, Any] = dict(settings.limits)
    for limit in values.keys() - {"name", "models", "admin"}:
        value = values[limit]
        if value is None:
            continue
        if limit == "service_tiers" and isinstance(value, str):
            value = value.split()
        try:
            check_limits({limit: value})
            limits[limit] = value
        except ValueError as error:  # that of the settings applies
            _log.warning("%s: the claim %r is ignored: %s", name, settings.claims[limit], error)
    admin = bool(settings.admins.intersection(_words(values.get("admin")) or ()))
    caller = caller_of(KeySettings(name, "", models, admin, **limits))
    return replace(caller, name=f"oidc:{name}")


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """Return a claim by its path, such as ``realm_access.roles``; None if it is missing.

    A claim whose own name has dots has precedence.
    """
    if path in claims:
        return claims[path]
    value: Any = claims
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _words(value: Any) -> list[str] | None:
    """Return the words of a list, or of a text with spaces as in the claim ``scope``; else None."""
    if isinstance(value, str):
        return value.split()
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else None
