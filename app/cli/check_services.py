"""``flask --app wsgi check --all``: ask each configured service once, all at once, in bounded time.

A service is what the proxy needs beside the providers: the servers of the cache and the limits, the
ledger's database, the identity provider's JWKS, the tracing endpoint and the webhook. To add one,
write a function that raises where the service is wrong, and name it in `services`.

No message repeats an address, which may hold a password.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from app.cli.output import aligned
from app.config import NotifySettings, Settings, TracingSettings

#: Characters of one message that are shown.
MAX_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class ServiceFinding:
    """What one service answered. ``setting`` is where it is configured."""

    setting: str
    ok: bool
    message: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def services(settings: Settings, timeout_s: float) -> dict[str, Callable[[], str]]:
    """A question for each configured service, by the setting that names it.

    A question returns what it learned, and raises where the service is wrong.
    """
    found: dict[str, Callable[[], str]] = {}
    if settings.cache is not None and settings.cache.url is not None:
        found["CACHE['url']"] = partial(_ask_valkey, settings.cache.url, timeout_s)
    if settings.limits.url is not None:
        found["LIMITS['url']"] = partial(_ask_valkey, settings.limits.url, timeout_s)
    if settings.usage is not None:
        found["USAGE['url']"] = partial(_ask_database, settings.usage.url)
    if settings.oidc is not None:
        found["OIDC['jwks_url']"] = partial(_ask_jwks, settings.oidc.jwks_url, timeout_s)
    if settings.tracing is not None:
        found["TRACING['endpoint']"] = partial(_ask_tracing, settings.tracing, timeout_s)
    if settings.notify is not None:
        found["NOTIFY['url']"] = partial(_ask_webhook, settings.notify)
    return found


def check_services(
    questions: Mapping[str, Callable[[], str]], timeout_s: float
) -> list[ServiceFinding]:
    """Ask all at the same time; a service without an answer within ``timeout_s`` is wrong.

    Each question has a thread of its own, because a name look-up cannot be cut short. A thread
    that outlasts its time is left behind: it does not keep the process from ending.
    """
    answers: dict[str, ServiceFinding] = {}

    def ask(setting: str, question: Callable[[], str]) -> None:
        try:
            answers[setting] = ServiceFinding(setting, True, question())
        except Exception as error:  # whatever a client's library raises
            text = " ".join(str(error).split()) or type(error).__name__
            answers[setting] = ServiceFinding(setting, False, text[:MAX_MESSAGE])

    threads = {
        setting: threading.Thread(target=ask, args=(setting, question), daemon=True)
        for setting, question in questions.items()
    }
    for thread in threads.values():
        thread.start()
    end = time.monotonic() + timeout_s
    for thread in threads.values():
        thread.join(max(end - time.monotonic(), 0.0))
    late = f"no answer within {timeout_s:g} s"
    return [answers.get(s) or ServiceFinding(s, False, late) for s in questions]


def table(findings: list[ServiceFinding]) -> str:
    """The findings for people: one line a service."""
    cells = [(f"{'ok' if f.ok else 'FAIL':4}", f.setting, f.message) for f in findings]
    return "\n".join(aligned(cells))


def _ask_valkey(url: str, timeout_s: float) -> str:
    from app.redis.connect import connect

    client = connect(url, timeout_s)
    try:
        client.ping()
    finally:
        client.close()
    return "answers PING"


def _ask_database(url: str) -> str:
    from sqlalchemy.engine import make_url

    from app.database.engine import Database
    from app.database.migrations import newest, version

    migrate = "run flask --app wsgi usage migrate"
    parsed = make_url(url)
    # SQLite would make the file, and leave it behind without tables.
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        raise ValueError(f"the file does not exist: {migrate}")
    database = Database(url)
    try:
        has = database.run(version)
    finally:
        database.close()
    if has != newest():
        raise ValueError(f"the tables are of version {has or 'none'}, not {newest()}: {migrate}")
    return f"answers; the tables are of version {has}"


def _ask_jwks(url: str, timeout_s: float) -> str:
    from app.auth.jwks import signing_keys
    from app.auth.jwks_fetch import fetch

    # A single key is listed under its id and under None.
    keys = {id(key) for key in signing_keys(fetch(url, timeout_s)).values()}
    return f"answers; signing keys: {len(keys)}"


def _ask_tracing(settings: TracingSettings, timeout_s: float) -> str:
    import requests

    headers = {**settings.headers, "Content-Type": "application/x-protobuf"}
    try:
        # An empty message is a valid export of no spans.
        answer = requests.post(
            settings.endpoint, b"", headers=headers, timeout=timeout_s, allow_redirects=False
        )
    except requests.RequestException as error:  # its text repeats the address
        raise ConnectionError(f"cannot be reached ({type(error).__name__})") from error
    if not answer.ok or answer.is_redirect:
        raise ValueError(f"answers {answer.status_code} to an export of no spans")
    return "takes an export of no spans"


def _ask_webhook(settings: NotifySettings) -> str:
    from app.limits.webhook import Webhook

    problem = Webhook(settings).check()
    if problem:
        raise ValueError(problem)
    return "takes a signed message of type 'check'"
