"""Drift of a deployment: whether its vectors agree with the reference vectors of their space.

`app.drift` compares them from time to time, by `app.dispatch.sending.background_calls`, and records
the result here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well the vectors of a deployment agree with the reference vectors of their space."""

    lowest: float  # cosine of one text's vector with its reference vector
    median: float
    text: str  # the name of the text with the lowest cosine
    checked_at: float  # seconds since 1970
    has_drifted: bool  # the lowest cosine is below CHECK["min_cosine"]
