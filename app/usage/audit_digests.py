"""Digests of the settings in use, without their secrets, for the audit log.

A field with ``repr=False`` may hold a secret. It is left out of the digest, except for addresses,
which go in without their password and query.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from app.config import Settings

_log = logging.getLogger("app.audit")

#: Hex digits of a digest that are kept: enough to distinguish two settings.
DIGEST_LENGTH = 16
#: Fields with addresses: they may hold a password, and go in without it.
ADDRESSES = frozenset(("url", "base_url", "jwks_url", "endpoint", "proxy"))


def digests_of(settings: Settings) -> dict[str, str]:
    """Return the digest of each setting, by its name in a settings file, and of ``workers``."""
    public: dict[str, Any] = _without_secrets(settings)
    return {
        name if name == "workers" else name.upper(): digest(value) for name, value in public.items()
    }


def digest(value: Any) -> str:
    """Return a short SHA-256 of a value that JSON can hold."""
    text = json.dumps(value, sort_keys=True, default=str)
    return sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


def _without_secrets(value: Any) -> Any:
    """Return the value as JSON can hold it, without secrets; sets are sorted."""
    if is_dataclass(value):
        public = {f.name: getattr(value, f.name) for f in fields(value) if f.repr}
        hidden = {f.name: getattr(value, f.name) for f in fields(value) if not f.repr}
        public |= {
            name: address_without_secrets(hidden[name]) for name in hidden.keys() & ADDRESSES
        }
        return _without_secrets(public)
    if isinstance(value, Mapping):
        return {str(name): _without_secrets(entry) for name, entry in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(str(_without_secrets(entry)) for entry in value)
    if isinstance(value, list | tuple):
        return [_without_secrets(entry) for entry in value]
    return value


def address_without_secrets(url: str | None) -> str | None:
    """Return an address without its password and its query.

    A password of a database may hold "/", "?", "#" and "[", where `urlsplit` would end the host:
    only the scheme is left then.
    """
    if url is None:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{url.partition('://')[0]}://"
    is_http = parts.scheme in ("http", "https")  # checked by the same rules
    if not is_http and "@" in f"{parts.path}{parts.query}{parts.fragment}":
        return f"{parts.scheme}://"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def place() -> str:
    """Return where the settings are: the host and the file, or ``defaults``."""
    return f"{socket.gethostname()}:{os.environ.get('PROXY_SETTINGS') or 'defaults'}"


def log_settings(settings: Settings) -> None:
    """Log the digest of all settings, where there is no database for an audit log."""
    _log.info("settings in use: %s, digest %s", place(), digest(digests_of(settings)))
