"""Names of the ledger's columns, in a module that does not import SQLAlchemy."""

from __future__ import annotations

#: ``writer`` (a random name of the process) and ``number`` (its count of rows) are the primary key.
#: The request's id cannot be: the client may choose it, and may send the same one twice.
COLUMNS = (
    "writer",
    "number",
    "time",  # milliseconds since 1970 in UTC, at the end of the request
    "request_id",
    "key",  # the caller's name
    "user",  # the field of the request; empty: none
    "model",  # empty: none that is configured
    "provider",  # several are joined by commas; empty: none, or all vectors were cached
    "deployment",  # the provider's name of the model; several and none as above
    "items",
    "prompt_tokens",
    "billed_tokens",  # bought for this request: not cached ones or those of another request
    "cached_tokens",
    "cost",  # billionths of a dollar, rounded up
    "ms",
    "status",
    "error_code",  # empty: none
    "space",  # the id of the model's vector space; empty: the model is not known
    "service_tier",  # the one asked for, else the key's; empty: the request could not be read
)
