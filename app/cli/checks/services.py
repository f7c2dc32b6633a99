"""``flask --app wsgi check --all``: check each configured service, in parallel, within a timeout.

Services are the servers of the cache and of the limits, the ledger's database, the identity
provider's JWKS, the tracing endpoint and the webhook. To add one, write a function that raises if
the service fails, and add it to `services`.

Messages never contain an address, because it may hold a password.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from app.cli.tables import aligned
from app.config import NotifySettings, Settings, TracingSettings

#: Characters of one message that are shown.
MAX_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class ServiceFinding:
    """The result of one service. ``setting`` is the setting with its address."""

    setting: str
    ok: bool
    message: str


def services(settings: Settings, timeout_s: float) -> dict[str, Callable[[], str]]:
    """Return a check for each configured service, by the setting with its address.

    A check returns a message, and raises if the service fails.
    """
    checks: dict[str, Callable[[], str]] = {}
    if settings.cache is not None and settings.cache.url is not None:
        checks["CACHE['url']"] = partial(_check_valkey, settings.cache.url, timeout_s)
    if settings.limits.url is not None:
        checks["LIMITS['url']"] = partial(_check_valkey, settings.limits.url, timeout_s)
    if settings.usage is not None:
        checks["USAGE['url']"] = partial(_check_database, settings.usage.url)
    if settings.oidc is not None:
        checks["OIDC['jwks_url']"] = partial(_check_jwks, settings.oidc.jwks_url, timeout_s)
    if settings.tracing is not None:
        checks["TRACING['endpoint']"] = partial(_check_tracing, settings.tracing, timeout_s)
    if settings.notify is not None:
        checks["NOTIFY['url']"] = partial(_check_webhook, settings.notify)
    return checks


def check_services(
    checks: Mapping[str, Callable[[], str]], timeout_s: float
) -> list[ServiceFinding]:
    """Run all checks in parallel; a service that does not answer within ``timeout_s`` fails.

    Each check has a daemon thread, because a DNS look-up cannot be interrupted. A thread that is
    still running after the timeout is abandoned; it does not keep the process from ending.
    """
    results: dict[str, ServiceFinding] = {}

    def run(setting: str, check: Callable[[], str]) -> None:
        try:
            results[setting] = ServiceFinding(setting, True, check())
        except Exception as error:  # of any client library
            text = " ".join(str(error).split()) or type(error).__name__
            results[setting] = ServiceFinding(setting, False, text[:MAX_MESSAGE])

    threads = {
        setting: threading.Thread(target=run, args=(setting, check), daemon=True)
        for setting, check in checks.items()
    }
    for thread in threads.values():
        thread.start()
    end = time.monotonic() + timeout_s
    for thread in threads.values():
        thread.join(max(end - time.monotonic(), 0.0))
    timed_out = f"no answer within {timeout_s:g} s"
    return [results.get(s) or ServiceFinding(s, False, timed_out) for s in checks]


def table(findings: list[ServiceFinding]) -> str:
    """Format the findings for reading: one line for each service."""
    return "\n".join(
        aligned([("ok  " if f.ok else "FAIL", f.setting, f.message) for f in findings])
    )


def _check_valkey(url: str, timeout_s: float) -> str:
    from app.redis.connect import connect

    client = connect(url, timeout_s)
    try:
        client.ping()
    finally:
        client.close()
    return "answers PING"


def _check_database(url: str) -> str:
    from app.database.engine import Database, is_missing_file
    from app.database.migrations import newest, version

    migrate = "run flask --app wsgi usage migrate"
    if is_missing_file(url):
        raise ValueError(f"the file does not exist: {migrate}")
    database = Database(url)
    try:
        found = database.run(version)
    finally:
        database.close()
    if found != newest():
        raise ValueError(f"the tables are of version {found or 'none'}, not {newest()}: {migrate}")
    return f"answers; the tables are of version {found}"


def _check_jwks(url: str, timeout_s: float) -> str:
    from app.auth.jwks import signing_keys
    from app.auth.jwks_fetch import fetch

    # `signing_keys` lists a single key twice: under its id and under None.
    keys = {id(key) for key in signing_keys(fetch(url, timeout_s)).values()}
    return f"answers; signing keys: {len(keys)}"


def _check_tracing(settings: TracingSettings, timeout_s: float) -> str:
    import requests

    headers = {**settings.headers, "Content-Type": "application/x-protobuf"}
    try:
        # An empty message is a valid export of no spans.
        response = requests.post(
            settings.endpoint, b"", headers=headers, timeout=timeout_s, allow_redirects=False
        )
    except requests.RequestException as error:  # its text contains the address
        raise ConnectionError(f"cannot be reached ({type(error).__name__})") from error
    if not response.ok or response.is_redirect:
        raise ValueError(f"answers {response.status_code} to an export of no spans")
    return "takes an export of no spans"


def _check_webhook(settings: NotifySettings) -> str:
    from app.limits.webhook import Webhook

    problem = Webhook(settings).check()
    if problem:
        raise ValueError(problem)
    return "takes a signed message of type 'check'"
