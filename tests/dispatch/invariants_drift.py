"""Invariants of the search: no vector of a deployment leaves while it is ejected for drift."""

from collections.abc import Iterator

from tests.dispatch.arrangement import Arrangement
from tests.dispatch.asked import GRACE, Asked
from tests.dispatch.invariants_answers import serving
from tests.dispatch.simulator import Simulation


def check_drift(run: Simulation, made: Arrangement) -> Iterator[str]:
    """Check that no answer has rows of a deployment that is ejected for drift.

    And that a request fails for drift only where it met an ejection of each deployment that could
    have served it.
    """
    for asked in run.asked:
        assert asked.heard is not None
        if asked.outcome is not None:
            providers = {provider for provider, _ in asked.outcome.sources}
            for provider in providers & _drifted(made, asked, asked.heard - GRACE, asked.heard):
                yield f"drift: {asked.request.items[:3]} got vectors of {provider}"
        if asked.code == "space_drifted":
            could = {d["provider"] for d in serving(made, asked.request)}
            if not could <= _drifted(made, asked, asked.heard, asked.at - GRACE):
                yield f"drift: {asked.code} for {asked.request.items[:3]} too early"


def _drifted(made: Arrangement, asked: Asked, before: float, after: float) -> set[str]:
    """Return the providers that were ejected for drift before a time and until after another."""
    return {
        drift.provider
        for drift in made.drifts
        if drift.model == asked.request.model
        and 1000 + drift.start <= before
        and 1000 + drift.stop > after
    }
