"""The form of a key's rights: what it shows of a key, and what its fields say."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from werkzeug.datastructures import MultiDict

from app.auth.key_entry import KeyEntry, columns_of
from app.auth.key_rights import NONE, check_models, limits_of
from app.auth.key_table import EDITABLE
from app.config.sections.keys import KEY_LIMITS, KEY_OPTIONS
from app.console.templating import datetime_of
from app.domain import TIERS, USUAL_TIERS

#: An amount with commas between thousands. Any other comma may be a decimal one: "10,50".
_WITH_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+(\.\d*)?")
#: When a key expires, as the form offers it: seconds from now.
LIFETIMES = {"30d": 30 * 86_400, "90d": 90 * 86_400, "365d": 365 * 86_400}
NEVER, KEEP, AT_DATE = "never", "keep", "date"
#: The limits with what the form says of each.
LIMIT_TITLES = {
    "requests_per_minute": "Requests a minute",
    "tokens_per_minute": "Tokens a minute",
    "tokens_per_day": "Tokens a day",
    "tokens_per_month": "Tokens a month",
    "dollars_per_month": "Dollars a month",
    "user_requests_per_minute": "Requests a minute of each end user",
    "user_tokens_per_minute": "Tokens a minute of each end user",
    "concurrent_requests": "Requests at the same time",
    "warn_at": "Warn at this share of a day's or month's limit",
}


@dataclass(frozen=True, slots=True)
class KeyForm:
    """The fields as texts, as a browser sends them and as the template shows them."""

    name: str = ""
    every_model: bool = True
    models: frozenset[str] = frozenset()
    admin: bool = False
    limits: Mapping[str, str] = field(default_factory=dict)
    service_tier: str = "default"
    service_tiers: frozenset[str] = USUAL_TIERS
    share: str = ""
    fair_users: bool = False
    networks: str = ""  # one a line
    expires: str = "90d"
    expires_on: str = ""
    seen: str = ""  # `version_of` the key when the form was shown

    @classmethod
    def read(cls, fields: MultiDict[str, str]) -> KeyForm:
        """Read the fields of a request; nothing is checked yet."""
        return cls(
            fields.get("name", "").strip(),
            fields.get("every_model") == "yes",
            frozenset(fields.getlist("models")),
            fields.get("admin") == "yes",
            {name: fields.get(name, "").strip() for name in KEY_LIMITS},
            fields.get("service_tier", "default"),
            frozenset(fields.getlist("service_tiers")),
            fields.get("share", "").strip(),
            fields.get("fair_users") == "yes",
            fields.get("networks", ""),
            fields.get("expires", KEEP),
            fields.get("expires_on", "").strip(),
            fields.get("seen", ""),
        )

    @classmethod
    def of(cls, entry: KeyEntry) -> KeyForm:
        """Return the form that shows a key."""
        limits = dict(entry.limits)
        return cls(
            entry.name,
            "*" in entry.models,
            frozenset() if "*" in entry.models else frozenset(entry.models),
            entry.admin,
            {name: _text(limits.get(name)) for name in KEY_LIMITS},
            limits.get("service_tier", "default"),
            frozenset(limits.get("service_tiers", USUAL_TIERS)),
            _text(limits.get("share")),
            bool(limits.get("fair_users")),
            "\n".join(entry.networks),
            KEEP,
            _date(entry.expires),
            version_of(entry),
        )

    def rights(self, known_models: Mapping[str, Any]) -> dict[str, Any]:
        """Return models, limits and networks as a `KeyEntry` has them. Raises ValueError."""
        if self.every_model and self.models:
            raise ValueError("every model is chosen, and some models too: choose one of both")
        models = ("*",) if self.every_model else tuple(sorted(self.models))
        if not models:
            raise ValueError("choose a model, or every model")
        check_models(models, known_models)
        limits = limits_of(self._given_limits())
        return {
            "models": models,
            "admin": self.admin,
            "limits": tuple((name, v) for name, v in limits.items() if v is not None),
            "networks": tuple(map(_network, re.findall(r"[^\s,]+", self.networks))),
        }

    def _given_limits(self) -> list[str]:
        """Return the limits as the command line takes them."""
        values = {name: text or NONE for name, text in self.limits.items()}
        values["share"] = self.share or NONE
        values["fair_users"] = "true" if self.fair_users else NONE
        values["service_tier"] = NONE if self.service_tier == "default" else self.service_tier
        is_usual = self.service_tiers == USUAL_TIERS
        values["service_tiers"] = NONE if is_usual else ",".join(sorted(self.service_tiers))
        amounts = (*KEY_LIMITS, "share")
        return [
            f"{name}={_plain_number(name, value) if name in amounts else value}"
            for name, value in values.items()
        ]

    def end(self, now: float, before: int | None) -> int | None:
        """Return when the key expires; ``before``: as it is. Raises ValueError."""
        is_date_given = self.expires_on not in ("", _date(before))
        if self.expires == KEEP and not is_date_given:
            return before
        if is_date_given and self.expires not in (KEEP, AT_DATE):
            raise ValueError("a date is given and another end, too: choose one of them")
        if self.expires == NEVER:
            return None
        if self.expires in LIFETIMES:
            return int(now) + LIFETIMES[self.expires]
        try:
            day = datetime.strptime(self.expires_on, "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            raise ValueError(f"{self.expires_on!r:.40} is no date: 2027-01-31") from None
        end = int(day.timestamp()) + 86_399  # the end of that day
        if end <= now:
            raise ValueError("that date is over: to end a key, revoke it")
        return end


def version_of(entry: KeyEntry) -> str:
    """Return a digest of a key's rights: it changes with each edit."""
    columns = columns_of(entry)
    text = json.dumps({name: columns[name] for name in EDITABLE}, sort_keys=True, default=str)
    return hashlib.sha256(f"{entry.sha256} {text}".encode()).hexdigest()[:16]


def choices(models: Mapping[str, Any], *, is_new: bool) -> dict[str, Any]:
    """Return what the template of the form offers."""
    return {
        "known_models": sorted(models),
        "limit_titles": LIMIT_TITLES,
        "tiers": TIERS,
        "is_new": is_new,
        "today": _date(int(time.time())),
    }


def _date(seconds: int | None) -> str:
    moment = None if seconds is None else datetime_of(seconds)
    return "" if moment is None else f"{moment:%Y-%m-%d}"


def check_known(entry: KeyEntry) -> None:
    """Raise ValueError for a key with a limit that the form cannot show: an edit would lose it."""
    unknown = [name for name, _ in entry.limits if name not in KEY_OPTIONS]
    if unknown:
        raise ValueError(f"this version does not know {', '.join(unknown)!r:.100} of the key")


def _plain_number(name: str, text: str) -> str:
    """Return an amount without the commas between thousands. Raises ValueError for any other."""
    if "," not in text:
        return text
    if not _WITH_THOUSANDS.fullmatch(text):
        raise ValueError(f"{name}: write a point before decimals, as in 1,234.50")
    return text.replace(",", "")


def _text(value: Any) -> str:
    """Return a limit exactly: what the form shows is what it saves."""
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _network(text: str) -> str:
    if text == "*":  # every address, as the command takes it
        return text
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError(f"{text!r:.60} is no network: {error}"[:200]) from error
