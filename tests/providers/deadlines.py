"""Deadlines of calls in tests, on a machine that other processes use too."""

import contextlib
import time

from tests.providers.http import InThread, within
from tests.support import refusals
from tests.support.upstream import good

#: The deadline of a call that is cut. A busy machine needs some of it to begin the call.
SOON_S = 0.4
#: Seconds after its deadline in which a call has ended. One that has no deadline of its own would
#: take a minute, or never end.
LATE_S = 10


def until_one_succeeds(attempt, tries=5):
    """Repeat what a busy machine may spoil: a step that must come within parts of a second."""
    for _ in range(tries - 1):
        with contextlib.suppress(AssertionError):
            return attempt()
    return attempt()


def assert_extended(upstream, provider):
    """Extend the deadline of a call, which is answered after its first one."""
    calls = len(upstream.calls)
    upstream.script(refusals.delayed(0.6, good))
    deadline = within(0.3)
    task = InThread(provider, deadline)
    upstream.wait_for_calls(calls + 1)
    deadline.extend(time.monotonic() + 60)
    result = task.join()
    assert not isinstance(result, Exception), result
