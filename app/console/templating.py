"""Jinja's environment of the console, and its static files."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_HERE = Path(__file__).parent
NOTHING = "\N{EN DASH}"  # where there is no value
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}


class StaticFiles:
    """The files of ``static/``, in memory, below a path with a digest of them all.

    So browsers may cache them for ever, and a script can import another by a relative path.
    """

    def __init__(self, directory: Path = _HERE / "static") -> None:
        self._directory = directory

    @cached_property
    def files(self) -> dict[str, tuple[bytes, str]]:
        """By name: content and media type."""
        return {
            path.relative_to(self._directory).as_posix(): (path.read_bytes(), _TYPES[path.suffix])
            for path in sorted(self._directory.rglob("*"))
            if path.suffix in _TYPES
        }

    @cached_property
    def digest(self) -> str:
        """A digest of all names and contents."""
        made = hashlib.sha256()
        for name, (content, _) in self.files.items():
            made.update(f"{name}\0{len(content)}\0".encode() + content)
        return made.hexdigest()[:12]


def make_environment() -> Environment:
    """Return Jinja's environment with the filters of the console."""
    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": number, "short": short, "money": money, "time": time}
    made.filters |= {"duration": duration, "percent": percent}
    return made


def number(value: float | None, digits: int = 0) -> str:
    """``1,234,567``; a dash for None."""
    return NOTHING if value is None else f"{value:,.{digits}f}"


def short(value: float | None) -> str:
    """``1.2 M``: three digits and a unit of thousands; a dash for None."""
    if value is None:
        return NOTHING
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size * 0.9995:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def money(value: float | None) -> str:
    """``$12.34``, with more digits below a dollar; a dash for None."""
    if value is None:
        return NOTHING
    if 0 < value < 0.00005:
        return "<$0.0001"
    return f"${value:,.2f}" if abs(value) >= 1 or not value else f"${value:.4f}"


def duration(milliseconds: float | None) -> str:
    """``12.3 ms``, ``1.23 s``; a dash for None."""
    if milliseconds is None:
        return NOTHING
    if milliseconds < 999.5:
        return f"{milliseconds:.3g} ms"
    seconds = milliseconds / 1000
    return f"{seconds:.3g} s" if seconds < 999.5 else f"{seconds:,.0f} s"


def percent(share: float | None) -> str:
    """``43 %``; a dash for None."""
    return NOTHING if share is None else f"{100 * share:.3g} %"


def time(seconds: float | None) -> Markup | str:
    """A point in time, in UTC; static/console.js shows it in the reader's zone."""
    if seconds is None:
        return NOTHING
    moment = datetime_of(seconds)
    if moment is None:
        return str(seconds)
    return Markup('<time datetime="{}">{}</time>').format(
        moment.isoformat(timespec="seconds"), f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    )


def datetime_of(seconds: float) -> datetime | None:
    """Return a point in time, in UTC; None if it is in no year that Python knows.

    A row that an operator's own SQL wrote may hold milliseconds, or a text.
    """
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def csrf_field(token: str) -> Markup:
    """The hidden field that every form with a POST needs."""
    return Markup('<input type="hidden" name="csrf" value="{}">').format(token)
