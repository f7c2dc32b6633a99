"""What pages that change something share: who did it, and errors of the database as answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.console.sessions import Session
from app.database.engine import Refused, Unavailable
from app.errors import AdminOnly, BadRequest, UsageUnavailable, shown


def actor_of(session: Session) -> str:
    """Return who made a change, for the audit log: ``key:NAME (ADDRESS)``."""
    return f"{session.actor} ({session.address or 'address not known'})"


def require_admin(session: Session) -> None:
    """Raise `AdminOnly` unless the session is an administrator's."""
    if not session.is_admin:
        raise AdminOnly('This key may not do that: "admin" is not set for it.')


@contextmanager
def answered_errors() -> Iterator[None]:
    """Raise errors of the database, and a ValueError for a wrong input, as `ClientError`."""
    try:
        yield
    except Unavailable as error:
        raise UsageUnavailable(
            "The database does not answer now, so nothing was changed. Try again.", retry_after=2
        ) from error
    except (Refused, ValueError) as error:
        raise BadRequest(_sentence(shown(error, 280))) from error


def _sentence(text: str) -> str:
    """Return a text of a command as a sentence."""
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith(".") else ".")
