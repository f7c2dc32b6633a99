"""What the proxy leans on, all at once: two Valkeys, a ledger with keys, an identity provider."""

import http.server
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from app.auth.key_entry import KeyEntry
from app.auth.key_table import KeyTable
from app.database.engine import Database
from app.database.migrations import migrate
from tests.auth.oidc_tokens import RSA, document, public, token
from tests.support import settings
from tests.support.valkey import Valkey

#: Limits that the load stays below, of every kind that is counted and of soft ones.
LIMITS = {
    "requests_per_minute": 10**7,
    "tokens_per_minute": 10**9,
    "tokens_per_day": 10**10,
    "tokens_per_month": 10**12,
    "warn_at": 0.9,
}
_YEARS_S = 3 * 365 * 86_400  # of a token: no jump of the clock ends it


class IdentityProvider:
    """A context manager: serves its public key. While ``is_away`` it answers 503."""

    def __init__(self) -> None:
        self.is_away = False
        self.fetches = 0
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/jwks"
        self.token = token(RSA, exp=int(time.time()) + _YEARS_S, nbf=None)

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        provider, body = self, document(public(RSA, "one"))

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.fetches += 1
                self.send_response(503 if provider.is_away else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        return Handler

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Services:
    """A context manager. ``secrets`` are a key, a key of the table, and a token."""

    def __init__(self, directory: Path, url: str | None, spool: Path | None) -> None:
        self.url = url or f"sqlite:///{directory}/usage.db"
        self.spool = spool or directory / "spool"
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as started:
            self.cache = started.enter_context(Valkey())
            self.limits = started.enter_context(Valkey())
            self.identity = started.enter_context(IdentityProvider())
            database = Database(self.url)
            migrate(database.engine)
            entry = KeyEntry("table", limits=tuple(sorted(LIMITS.items())))
            in_table = KeyTable(database, actor="tests").new(entry)
            database.close()
            self.secrets = [settings.KEY, in_table, self.identity.token]
            self._cleanup = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def overlay(self) -> dict[str, Any]:
        """The settings that turn all of it on."""
        return {
            "CACHE": {"ttl": 60, "max_bytes": 2**20, "url": self.cache.url},
            "LIMITS": {"url": self.limits.url},
            "USAGE": {"url": self.url, "spool": str(self.spool), "keys": True},
            "OIDC": {
                "issuer": "https://id",
                "audience": "proxy",
                "jwks_url": self.identity.url,
                "limits": LIMITS,
            },
        }
