"""Settings of the cache and of limits, which workers and hosts share where ``url`` is set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, fields

from app.config import fields as own
from app.config.sections.declaration import (
    choice,
    count,
    flag,
    namespace,
    positive,
    seconds,
    setting,
    store,
)


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """``CACHE``."""

    ttl: float = positive(3600.0, None, "How long a vector is kept.", "seconds")
    max_bytes: int = count(256 * 2**20, "Of each worker, all overhead included.", shown="256 MiB")
    scope: str = choice("shared", ["shared", "key"], "'key': no key sees what another has cached.")
    url: str | None = store(
        "A Redis or Valkey behind that of the workers, which all workers and hosts share: "
        '"redis://:password@host:6379/0", "rediss://…" (TLS), "unix:///path", '
        '"redis+sentinel://host:26379,host:26379/service/0", '
        '"redis+cluster://host:6379,host:6379".'
    )
    namespace: str = namespace()
    timeout: float = seconds(0.05, "Maximum wait of a request for it; then the hit is lost.")


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """``LIMITS``."""

    body_bytes: int = count(32 * 2**20, "Size of a request's body.", shown="32 MiB")
    inputs: int = count(8192, "Inputs of a request.")
    waiting: int = count(1000, "Requests that may wait for a provider's slot in a worker.")
    url: str | None = store(
        "A Redis or Valkey (as in CACHE) that counts for all workers and hosts. It has to keep "
        'what it is told ("maxmemory-policy" noeviction or volatile-*).'
    )
    namespace: str = namespace()
    timeout: float = seconds(0.05, "Maximum wait of a request for it.")
    count_cached_tokens: bool = flag(
        True, "Whether tokens served from the cache count; money is never counted for them."
    )
    timezone: str = setting(
        fields.String(validate=own.time_zone),
        "UTC",
        "a time zone, for instance 'Europe/Berlin'",
        "In which the days and months of limits begin.",
    )
    when_away: str = choice(
        "allow",
        ["allow", "refuse"],
        "While the url is slow or dead: 'refuse' refuses keys with a limit of a day or a month. "
        "Usage of that time is charged later.",
    )

    @staticmethod
    def complete(data: dict[str, Any]) -> dict[str, Any]:
        """Check that what may be away is configured."""
        if data.get("when_away") == "refuse" and not data.get("url"):
            raise ValidationError(
                "needs 'url': what is counted in memory is never away", "when_away"
            )
        return data
