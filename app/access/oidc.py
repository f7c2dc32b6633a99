"""Tokens of an identity provider (OpenID Connect) in the place of keys.

PyJWT checks signature, ``iss``, ``aud``, ``exp`` and ``nbf``; what the claims say becomes a
`Caller`. The provider's public keys (JWKS, RFC 7517) are fetched by a thread of their own, never by
a request: one whose token names a key that is not known yet (the provider rotates them) waits a
moment for that thread.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jwt
from cachetools import LRUCache

from app.access.door import Network
from app.access.keys import caller_of
from app.access.refusals import KeysUnavailable
from app.config import KeySettings
from app.config_services import OidcSettings
from app.domain import Caller
from app.errors import Unauthorized
from app.mutex import mutex

_log = logging.getLogger("app.access")

_FETCH = 5.0  # seconds
_MOST_BYTES = 2**20  # of a JWKS
_HURRY = 10.0  # seconds between fetches that requests ask for
_MOMENT = 2.0  # seconds that a request waits for one
_REMEMBERED = 10_000  # tokens whose signature is not checked again
_WRONG = "Incorrect API key provided."

Fetch = Callable[[str], bytes]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None  # the settings say where the keys are, and nobody else does


def fetch(url: str) -> bytes:
    """The JWKS document. Raises OSError or ValueError."""
    opener = urllib.request.build_opener(_NoRedirects)
    with opener.open(url, timeout=_FETCH) as answer:
        data: bytes = answer.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ValueError("the document is too large")
    return data


class Jwks:
    """The identity provider's public keys by their id. `start` it in the process that serves."""

    def __init__(
        self, url: str, refresh: float, algorithms: tuple[str, ...], get: Fetch = fetch
    ) -> None:
        self._url, self._refresh, self._get = url, refresh, get
        self._algorithms = algorithms
        self._keys: Mapping[str | None, jwt.PyJWK] | None = None
        self.version = 0  # counts the changes of the keys
        self._data = b""
        self._asked = 0.0  # when a request last asked to hurry
        self._stop = threading.Event()
        self._wanted = threading.Event()
        self._fetched = threading.Event()  # replaced by each fetch
        self._thread = threading.Thread(target=self._run, name="access-jwks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._wanted.set()

    def find(self, kid: str | None) -> jwt.PyJWK:
        """Raises `Unauthorized` for an id that there is not, `KeysUnavailable` before any."""
        key = (self._keys or {}).get(kid)
        if key is None:
            self._hurry()
            key = (self._keys or {}).get(kid)
        if self._keys is None:
            raise KeysUnavailable("Tokens cannot be checked now. Try again.", retry_after=5)
        if key is None:
            raise Unauthorized(_WRONG)
        return key

    def _hurry(self) -> None:
        fetched, now = self._fetched, time.monotonic()
        # Ids are free to invent: who sends many of them makes neither fetches nor waiters.
        if self._asked and now - self._asked < _HURRY:
            return
        self._asked = now
        self._wanted.set()
        fetched.wait(_MOMENT)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wanted.clear()
            self.update()
            fetched, self._fetched = self._fetched, threading.Event()
            fetched.set()
            if self._stop.is_set():
                return
            # Until there are keys at all, callers wait for them.
            self._wanted.wait(self._refresh if self._keys is not None else _FETCH)

    def update(self) -> None:
        """Fetch the keys; the old ones stay where that fails."""
        try:
            data = self._get(self._url)
            if data == self._data:
                return
            keys = _signing_keys(data, self._algorithms)
        except (OSError, ValueError, jwt.PyJWTError) as error:
            _log.warning("the JWKS cannot be read: %s: %s", type(error).__name__, error)
            return
        self._data, self._keys = data, keys
        self.version += 1


def _signing_keys(data: bytes, algorithms: tuple[str, ...]) -> dict[str | None, jwt.PyJWK]:
    """By id; one alone is found without an id too. Raises ValueError where there is none."""
    document = json.loads(data)
    entries = document.get("keys") if isinstance(document, dict) else None
    keys: dict[str | None, jwt.PyJWK] = {}
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK.from_dict(entry)
        except jwt.PyJWTError:  # of a kind that is not known here
            continue
        if key.key_type != "oct":  # a secret in public
            keys[key.key_id] = key
    if not keys:
        raise ValueError("no key in it can check a signature")
    if len(keys) == 1:
        keys[None] = next(iter(keys.values()))
    return keys


class Tokens:
    """Signed tokens as a `KeySource`."""

    def __init__(self, settings: OidcSettings, jwks: Jwks) -> None:
        self._settings = settings
        self._jwks = jwks
        self._lock = mutex()  # guards _known
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
        settings = self._settings
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in settings.algorithms:
                raise Unauthorized("The token is signed in a way that is not accepted here.")
            key = self._jwks.find(header.get("kid"))
            return jwt.decode(
                token,
                key.key,
                list(settings.algorithms),
                audience=list(settings.audience),
                issuer=settings.issuer,
                leeway=settings.leeway,
                options={"require": ["exp", "iss", "aud"], "strict_aud": False},
            )
        except jwt.ExpiredSignatureError as error:
            raise Unauthorized("The token has expired.") from error
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise Unauthorized(_WRONG) from error


def _caller(claims: Mapping[str, Any], settings: OidcSettings) -> Caller:
    """What the claims say; the name is never that of a key, whatever the provider calls people."""
    named = {what: _claim(claims, path) for what, path in settings.claims.items()}
    name = named.get("name")
    if not isinstance(name, str) or not name or len(name) > 200:
        raise Unauthorized("The token does not say whose it is.")
    models = settings.models
    if "models" in settings.claims:
        # A token that says nothing of models, where it could, gets none beyond the settings'.
        given = _words(named["models"])
        models = models if given is None else None if "*" in given else frozenset(given)
    limits: dict[str, Any] = dict(settings.limits)
    for what in named.keys() - {"name", "models", "admin"}:
        value = named[what]
        if _is_number(value, whole=not what.startswith("dollars")) and value > 0:
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
