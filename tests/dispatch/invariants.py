"""The invariants of each simulation of the search, for any behaviour of providers.

A violation is a line, ``kind: what happened``. There are few kinds, so that they can be counted.
"""

from collections.abc import Callable, Iterator

from tests.dispatch.arrangement import Arrangement
from tests.dispatch.internals import kept_in_vain, leftovers
from tests.dispatch.invariants_answers import (
    check_answers,
    check_errors_are_not_shared,
    check_leaving,
    check_overloaded,
    check_refusals,
    check_unavailable,
)
from tests.dispatch.invariants_cache import check_purchases, check_shared_items
from tests.dispatch.invariants_calls import (
    check_budgets,
    check_guilty,
    check_not_found,
    check_quota_refusals,
    check_quotas,
    check_rests,
    check_short_waits,
    check_silence,
)
from tests.dispatch.invariants_drift import check_drift
from tests.dispatch.invariants_recovery import check_recovery, check_shares
from tests.dispatch.invariants_users import check_users
from tests.dispatch.simulator import Simulation

Check = Callable[[Simulation, Arrangement], Iterator[str]]


def violations(run: Simulation, made: Arrangement) -> list[str]:
    """Return the violations of a simulation that has ended."""
    return [line for check in CHECKS for line in check(run, made)]


def check_noted(run: Simulation, made: Arrangement) -> Iterator[str]:
    """Check that no limit was exceeded and that dispatch logged no error of its own."""
    yield from (f"noted: {line}" for line in run.world.wrong)


def check_nothing_left(run: Simulation, made: Arrangement) -> Iterator[str]:
    """Check that no thread, slot, queue, batch, probe or load of the single flight is left."""
    if run.world.threads:
        yield f"left: {run.world.threads} threads wait for ever"
    for dispatcher, pipeline in zip(run.dispatchers, run.pipelines, strict=True):
        for line in leftovers(dispatcher, pipeline, run.world.now):
            yield f"left: {line}"
        for line in kept_in_vain(dispatcher):
            yield f"kept: {line}"


CHECKS: tuple[Check, ...] = (
    check_answers,
    check_refusals,
    check_unavailable,
    check_leaving,
    check_overloaded,
    check_errors_are_not_shared,
    check_noted,
    check_nothing_left,
    check_quota_refusals,
    check_short_waits,
    check_quotas,
    check_rests,
    check_budgets,
    check_not_found,
    check_guilty,
    check_silence,
    check_users,
    check_drift,
    check_shared_items,
    check_purchases,
    check_recovery,
    check_shares,
)
