"""Tokens of an identity provider (OpenID Connect) in the place of keys.

PyJWT checks signature, ``iss``, ``aud``, ``exp`` and ``nbf``; what the claims say becomes a
`Caller`. The provider's public keys are those of `app.auth.jwks`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jwt
from cachetools import LRUCache
from jwt.types import Options

from app.auth.authenticator import Network
from app.auth.jwks import Jwks
from app.auth.keys import caller_of
from app.concurrency.locks import uncontended_lock
from app.config import KeySettings, OidcSettings
from app.domain import Caller
from app.errors import Unauthorized

_REMEMBERED = 10_000  # tokens whose signature is not checked again
#: Limits that need not be whole numbers.
_FRACTIONS = ("dollars_per_month", "warn_at")
_WRONG = "Incorrect API key provided."


class JwtAuthenticator:
    """Signed tokens as a `KeySource`."""

    def __init__(self, settings: OidcSettings, jwks: Jwks) -> None:
        self._settings = settings
        self._jwks = jwks
        self._lock = uncontended_lock()  # guards _known
        self._known: LRUCache[bytes, tuple[int, float, Caller]] = LRUCache(_REMEMBERED)

    def identify(self, key: str) -> tuple[Caller, tuple[Network, ...]]:
        """Raises `Unauthorized`, or `KeysUnavailable` where nobody can know."""
        if key.count(".") != 2:
            raise Unauthorized(_WRONG)
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        with self._lock:
            version, end, caller = self._known.get(digest, (-1, 0.0, None))
        if caller is not None and version == self._jwks.version and time.time() < end:
            return caller, ()
        version = self._jwks.version  # before the key is looked up
        claims = self._check(key)
        caller = _caller(claims, self._settings)
        with self._lock:
            end = float(claims["exp"]) + self._settings.leeway
            self._known[digest] = (version, end, caller)
        return caller, ()

    def _check(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in self._settings.algorithms:
                raise Unauthorized("The token is signed in a way that is not accepted here.")
            kid = header.get("kid")
            key = self._jwks.known(kid)
            if key is None:
                self._decode(token, None)  # one that is wrong anyway is worth no fetch
                key = self._jwks.find(kid)
            if key is None:
                raise Unauthorized(_WRONG)
            return self._decode(token, key)
        except jwt.ExpiredSignatureError as error:
            raise Unauthorized("The token has expired.") from error
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise Unauthorized(_WRONG) from error

    def _decode(self, token: str, key: jwt.PyJWK | None) -> dict[str, Any]:
        """The claims, checked; the signature too where a key is given."""
        settings = self._settings
        options: Options = {"require": ["exp", "iss", "aud"], "strict_aud": False}
        if key is None:
            options["verify_signature"] = False  # which leaves the others out, unless asked for
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
    """What the claims say; the name is never that of a key, whatever the provider calls people."""
    named = {what: _claim(claims, path) for what, path in settings.claims.items()}
    name = named.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= 200 or not name.isprintable():
        raise Unauthorized("The token does not say whose it is.")
    models = settings.models
    if "models" in settings.claims:
        # A token that says nothing of models, where it could, gets none beyond the settings'.
        given = _words(named["models"])
        models = models if given is None else None if "*" in given else frozenset(given)
    limits: dict[str, Any] = dict(settings.limits)
    for what in named.keys() - {"name", "models", "admin"}:
        value = named[what]
        if _is_number(value, whole=what not in _FRACTIONS) and value > 0:
            limits[what] = value
    admin = bool(settings.admins.intersection(_words(named.get("admin")) or ()))
    caller = caller_of(KeySettings(name, "", models, admin, **limits))
    return replace(caller, name=f"oidc:{name}")


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """``realm_access.roles`` → the roles; a claim whose own name has dots comes first."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _is_number(value: Any, whole: bool) -> bool:
    return isinstance(value, int if whole else int | float) and not isinstance(value, bool)


def _words(value: Any) -> list[str] | None:
    """A list of words, or words with spaces between them, as in the claim ``scope``."""
    if isinstance(value, str):
        return value.split()
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else None
