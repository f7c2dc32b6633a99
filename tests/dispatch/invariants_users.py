"""Invariants of the search: end users."""

from collections.abc import Iterator

from tests.dispatch.arrangement import Arrangement
from tests.dispatch.invariants_calls import key_of, owners
from tests.dispatch.simulator import Simulation


def check_users(run: Simulation, made: Arrangement) -> Iterator[str]:
    """Check that a provider is told the end user of each item that it gets, where it takes one.

    Checked only if no item is requested twice.
    """
    if not made.unique:
        return
    owner = owners(run)
    for name, provider in made.providers.items():
        for call in run.members[name].seen if provider.takes.user else ():
            numbers = {owner[key_of(i, call)] for i in call.items if key_of(i, call) in owner}
            users = {run.asked[number].request.user for number in numbers} - {call.user}
            if users:
                yield f"user: {call.items[:3]} of {users} were sent for {call.user}"
