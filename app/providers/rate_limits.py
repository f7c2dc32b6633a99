"""The rate limits of a provider in the headers of its answers: what remains, and when they reset.

A successful answer has them, too: a provider that says that nothing remains would refuse the next
call. Pure. Nothing here trusts what it reads: a value that cannot be read counts as missing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from app.domain import StatedLimit
from app.providers.refusals import bounded_wait

#: Headers with what remains, and with when it resets. The first are OpenAI's, which Azure and most
#: others have; the last those of a draft of the IETF (draft-ietf-httpapi-ratelimit-headers-07).
_OF = {u: (f"x-ratelimit-remaining-{u}", f"x-ratelimit-reset-{u}") for u in ("requests", "tokens")}
_OPENAI = [*_OF.values()]
_PAIRS = [
    *_OPENAI,
    *(
        (f"anthropic-ratelimit-{unit}-remaining", f"anthropic-ratelimit-{unit}-reset")
        for unit in ("requests", "tokens", "input-tokens")
    ),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("ratelimit-remaining", "ratelimit-reset"),
]
_STATED = [
    *(name for u in ("requests", "tokens") for name in (*_OF[u], f"x-ratelimit-limit-{u}")),
    "date",
]
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|[smhd])"
_DURATION = re.compile(f"(?:{_PART})+")
_NUMBER = re.compile(r"[0-9]{1,13}(?:\.[0-9]{1,9})?")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:.]{5,16}(?:[Zz]|[+-][0-9]{2}:[0-9]{2})")
#: Larger numbers are seconds since 1970, and still larger ones milliseconds.
_FIRST_TIME, _FIRST_TIME_MS = 1e9, 1e12


def seconds_to_reset(headers: Mapping[str, str]) -> float | None:
    """Return the seconds until every limit that is used up has reset; None where none is."""
    used_up = [reset for remaining, reset in _PAIRS if headers.get(remaining) == "0"]
    return _longest(headers, used_up) if used_up else None


def limit_headers(headers: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the headers for `stated_limits`, unread; None where a provider sends none.

    Of calls and of tokens: what remains, when that resets, the limit; then the date.
    """
    if _OPENAI[0][0] not in headers and _OPENAI[1][0] not in headers:
        return None
    return tuple(headers.get(name, "") for name in _STATED)


def stated_limits(found: Sequence[str]) -> list[StatedLimit | None]:
    """Return what they say of calls and of tokens; None where that is nothing, or not readable.

    Nothing remains: that is a rest, for `seconds_to_reset`.
    """
    *of_each, date = found
    return [_stated(of_each[i], of_each[i + 1], of_each[i + 2], date) for i in (0, 3)]


def _stated(remaining: str, reset: str, limit: str, date: str) -> StatedLimit | None:
    left, reset_s = _count(remaining), bounded_wait(_seconds(reset, date)) if reset else None
    if not left or not reset_s:
        return None
    return StatedLimit(left, _count(limit), reset_s)


def _count(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) and text.isascii() else None


def _longest(headers: Mapping[str, str], names: Iterable[str]) -> float | None:
    waits = [_seconds(headers.get(name, ""), headers.get("date")) for name in names]
    return bounded_wait(max(waits, default=0.0)) or None


def _seconds(text: str, date: str | None) -> float:
    """Return the seconds of ``1m30s``, of a number of them, or until a time; 0 of anything else."""
    if _DURATION.fullmatch(text):
        return sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, text))
    try:
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text.upper()).timestamp() - _now(date)
        if not _NUMBER.fullmatch(text) or not text.isascii():
            return 0.0
        number = float(text)
        if number >= _FIRST_TIME:
            return number / (1000 if number >= _FIRST_TIME_MS else 1) - _now(date)
        return number
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _now(date: str | None) -> float:
    """Return the time by the provider's own clock, where it shows it."""
    if not date:
        return time.time()
    return parsedate_to_datetime(date).astimezone(UTC).timestamp()
