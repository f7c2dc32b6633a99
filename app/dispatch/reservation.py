"""What a call takes of its deployment's quota."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Reservation:
    """The quota taken for one call: its time, and the tokens that it counts for."""

    at: float
    tokens: int
    is_counted: bool = False  # in the window of tokens
    is_settled: bool = False  # the tokens are those that the provider counted
    is_unreported: bool = False  # of a `LeasedQuota`: the store does not know of the call
