"""The tables of the database. A test compares them with those that the migrations create."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from app.database.columns import COLUMNS

metadata = sa.MetaData()

_BIG = sa.BigInteger()
_TYPES: dict[str, Any] = {
    "writer": sa.String(16),
    "request_id": sa.String(128),
    "user": sa.String(256),
    "error_code": sa.String(64),
    "space": sa.String(100),
    "service_tier": sa.String(16),
    **dict.fromkeys(("key", "model", "provider", "deployment"), sa.Text()),
}

#: One row for each request: see `app.database.columns`.
requests = sa.Table(
    "usage_requests",
    metadata,
    *(
        sa.Column(
            name, _TYPES.get(name, _BIG), primary_key=name in ("writer", "number"), nullable=False
        )
        for name in COLUMNS
    ),
    # Reports and the retention select by time, reports of one key by key and time.
    sa.Index("usage_requests_time", "time"),
    sa.Index("usage_requests_key_time", "key", "time"),
)

#: Dimensions of the rollups (see `app.usage.store.rollups`), and the columns that they sum up.
HOUR_DIMENSIONS = ("key", "model", "provider", "deployment", "status", "error_code")
HOUR_SUMS = ("items", "prompt_tokens", "billed_tokens", "cached_tokens", "cost", "ms")


def _hours(name: str, *dimensions: str) -> sa.Table:
    """Return the table of a rollup; ``hour`` is the start of the hour, in ms since 1970."""
    group = ("hour", *dimensions)
    return sa.Table(
        name,
        metadata,
        *(sa.Column(n, _TYPES.get(n, _BIG), primary_key=True, autoincrement=False) for n in group),
        *(sa.Column(n, _BIG, nullable=False) for n in ("requests", *HOUR_SUMS)),
        sqlite_with_rowid=False,  # ordered by hour, as it is read
    )


hours = _hours("usage_hours", *HOUR_DIMENSIONS)
user_hours = _hours("usage_user_hours", "user", *HOUR_DIMENSIONS)
tier_hours = _hours("usage_tier_hours", "service_tier", *HOUR_DIMENSIONS)

#: Keys besides those of the settings, as hashes. Times are in seconds since 1970.
keys = sa.Table(
    "access_keys",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("name", sa.Text(), nullable=False),
    sa.Column("models", sa.JSON(), nullable=False),  # a list; ["*"]: every model
    sa.Column("admin", sa.Boolean(), nullable=False),
    sa.Column("limits", sa.JSON(), nullable=False),  # and share, tiers … as in KEYS
    sa.Column("networks", sa.JSON(), nullable=False),  # a list; empty: any
    sa.Column("created", _BIG, nullable=False),
    sa.Column("expires", _BIG),
    sa.Column("revoked", _BIG),
    sa.Index("access_keys_name", "name"),
)

#: Keys, by name and of any origin, and end users that are refused. Times in seconds since 1970.
blocks = sa.Table(
    "access_blocks",
    metadata,
    sa.Column("kind", sa.String(8), primary_key=True),  # "key" or "user"
    sa.Column("name", sa.String(256), primary_key=True),
    sa.Column("until", _BIG),  # NULL: until it is unblocked
    sa.Column("reason", sa.Text(), nullable=False),
    sa.Column("created", _BIG, nullable=False),
    sa.Column("actor", sa.Text(), nullable=False),  # as in the audit log
)

#: One row whose version each change of keys and blocks increments; workers poll it.
keys_version = sa.Table(
    "access_keys_version",
    metadata,
    sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
    sa.Column("version", _BIG, nullable=False),
)

#: Changes of keys and settings, without secrets: see `app.database.audit`.
audit_log = sa.Table(
    "audit_log",
    metadata,
    # SQLite increments only a column of this type automatically.
    sa.Column("id", _BIG.with_variant(sa.Integer(), "sqlite"), primary_key=True),
    sa.Column("time", _BIG, nullable=False),  # milliseconds since 1970 in UTC
    sa.Column("actor", sa.Text(), nullable=False),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("subject", sa.Text(), nullable=False),
    sa.Column("detail", sa.JSON(), nullable=False),
    sa.Index("audit_log_time", "time"),
)

#: The vectors of the probe texts in each vector space: see `app.dispatch.drift.reference`.
space_references = sa.Table(
    "space_references",
    metadata,
    sa.Column("space", sa.String(100), primary_key=True),
    sa.Column("texts", sa.String(16), nullable=False),  # `app.dispatch.drift.texts.TEXTS_ID`
    sa.Column("vectors", sa.LargeBinary(), nullable=False),  # float32, in the order of the texts
    sa.Column("recorded_at", _BIG, nullable=False),  # milliseconds since 1970 in UTC
    sa.Column("recorded_from", sa.Text(), nullable=False),  # the label of a deployment
)
