"""The numbers of dispatch, each with its unit, range and reason: the setting ``DISPATCH``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.config.sections.declaration import number, whole


def _number(default: float, low: float, high: float, reason: str) -> Any:
    """A number in a range; whole where its default is."""
    if isinstance(default, int):
        return whole(default, int(low), int(high), reason)
    return number(default, low, high, reason)


def _seconds(default: float, high: float, reason: str, low: float = 0.01) -> Any:
    """A duration in seconds."""
    return number(default, low, high, f"Seconds {reason}")


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """The numbers of dispatch that can be set. Durations are in seconds."""

    # What is tried again
    max_failures: int = _number(
        3,
        1,
        20,
        "Failures of one part of a request before it fails; one more for each further "
        "deployment of the model.",
    )
    first_pause: float = _seconds(
        0.1, 60, "before the first retry at the same deployment, at most; doubles each time.", 0.0
    )
    longest_pause: float = _seconds(2.0, 60, "before any retry at the same deployment.", 0.0)
    retry_ratio: float = _number(
        0.2, 0, 1, "Retries, as a share of a model's first calls: no retry storm."
    )
    hedge_ratio: float = _number(0.05, 0, 1, "Hedges, as a share of a model's first calls.")
    saved_retries: float = _number(
        20.0, 0, 1e6, "Retries that a model may use before it has earned any."
    )
    max_saved: float = _number(
        100.0, 0, 1e6, "Unused retries, and unused hedges, that a model keeps for later."
    )

    # When a call is slow
    hedge_factor: float = _number(
        1.5,
        1,
        100,
        "A hedge is sent when a call takes so many times its p95. Nearer to 1 more calls are "
        "hedged, up to hedge_ratio.",
    )
    late_factor: float = _number(
        20.0,
        1,
        1000,
        "A call is late after so many times its p95: it counts as failed, and another "
        "deployment is called, too.",
    )
    late_floor: float = _seconds(2.0, 600, "before which no call is late.")
    late_unknown: float = _seconds(
        10.0, 600, "after which a call is late where no p95 is known yet."
    )
    silence_factor: float = _number(
        10.0,
        1,
        1000,
        "A deployment is ejected when a call has no answer after so many times its "
        "p95 (its average, where no p95 is known), while other deployments answer.",
    )
    silence_floor: float = _seconds(1.0, 600, "before which no such silence ejects.")
    cut_factor: float = _number(
        4.0,
        1,
        1000,
        "A call that its caller cut counts as failed after so many times its p95 (its average, "
        "where no p95 is known), if others answered meanwhile.",
    )
    probe_timeout: float = _seconds(
        10.0, 600, "that the probe of an ejected deployment may take.", 0.1
    )

    # Who shares a call
    longest_call: float = _seconds(
        1.0,
        600,
        "that a call is expected to take: larger ones are split, so that a slot is soon free.",
    )
    longest_flex_call: float = _seconds(
        0.1,
        600,
        "that a call of service tier flex is expected to take in a worker with fewer than 4 slots, "
        "where none is kept for other tiers.",
    )
    max_lengthening: float = _number(
        0.25,
        0,
        100,
        "Share of its time by which a call of small requests, or of a better service tier, may get "
        "longer by others. With more, calls are fewer and larger: more throughput at a provider "
        "whose calls take long whatever their size.",
    )

    # When a deployment is not asked
    failures_in_a_row: int = _number(5, 1, 1000, "Failures in a row that eject a deployment.")
    refusals_in_a_row: int = _number(
        3, 1, 1000, "Refused connections in a row that eject it: no server is there."
    )
    failure_rate: float = _number(
        0.6, 0.01, 1, "Share of the recent calls that must fail to eject it."
    )
    min_calls: int = _number(20, 1, 10_000, "Recent calls before their failure rate counts.")
    rate_window: float = _seconds(
        10.0, 3600, "that are recent: the rate looks back one to two of these windows.", 0.1
    )
    first_ejection: float = _seconds(
        1.0, 600, "of the first ejection, half of them jitter; doubles with each further one."
    )
    longest_ejection: float = _seconds(60.0, 3600, "of any ejection.", 0.1)
    credentials_ejection: float = _seconds(60.0, 3600, "of an ejection for refused credentials.")
    suspicion: float = _seconds(
        5.0,
        600,
        "for which a deployment that may not be ejected is asked only where no other is well; and "
        "one whose 400s are in doubt, only after another or where no other is well.",
    )
    last_resort: float = _seconds(
        1.0, 600, "between probes of an ejected deployment while no other can serve."
    )
    slow_start: float = _seconds(
        5.0, 600, "in which the share of a deployment that is back grows to its full weight.", 0.0
    )
    first_rest: float = _seconds(
        0.5, 600, "of rest after a 429 without Retry-After, half of them jitter; doubles."
    )
    longest_rest: float = _seconds(60.0, 3600, "of any such rest.")
    longest_asked_rest: float = _seconds(3600.0, 86_400, "of rest that a provider asked for.", 1.0)
    rest_probe: float = _seconds(
        10.0, 3600, "between probes of a resting deployment while no other can serve.", 0.1
    )

    # Whose fault a 400 is
    trust_400_for: float = _seconds(
        60.0, 86_400, "after a success in which a deployment's 400 to such requests is final.", 0.0
    )
    trusted_400s: int = _number(
        10, 0, 10_000, "400s in a row that are final for that reason; then others are asked, too."
    )
    refuted_400s: int = _number(
        3, 1, 1000, "400s in a row, to what another deployment embeds, that eject a deployment."
    )
    refused_item_ttl: float = _seconds(
        300.0, 86_400, "for which an item refused with 400 is not merged with others.", 0.0
    )
    max_refused_items: int = _number(
        10_000, 0, 10_000_000, "Refused items that are remembered for each deployment."
    )
