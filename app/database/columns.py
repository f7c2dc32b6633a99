"""The columns of the ledger. Without SQLAlchemy, which only their tables need."""

from __future__ import annotations

#: ``writer`` and ``number`` make a row unique: a random word for the process, and its count of
#: rows. A request's id cannot, for it may be the client's own, and clients repeat theirs.
COLUMNS = (
    "writer",
    "number",
    "time",  # milliseconds since 1970 in UTC, when the answer was ready
    "request_id",
    "key",  # the caller's name
    "user",  # the field of the request; empty: none
    "model",  # empty: none that there is
    "provider",  # several with commas; empty: all from the cache, or none
    "deployment",  # the provider's name of the model, likewise
    "items",
    "prompt_tokens",
    "billed_tokens",  # bought for this request: none of those from the cache or from another's call
    "cached_tokens",
    "cost",  # billionths of a dollar, rounded up
    "ms",
    "status",
    "error_code",  # empty: none
)
