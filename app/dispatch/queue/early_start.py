"""Whether the call of an open batch starts early, before all that has arrived was read. Pure.

A batch is open for additions until its sender runs. Under gevent that is after all requests that
have arrived were read. Without more, a burst of requests would share one call, whose answers cause
the next burst: the provider would wait for the worker, and then the worker for the provider.
"""

from __future__ import annotations

#: Attempts in a call that starts early, at least: it takes the worker as long as one or two
#: requests, which is little for so many.
MIN_ATTEMPTS = 8
#: The share that they are, at least, of the attempts at their deployment that are queued or in
#: flight. With four calls in turn, the worker reads requests while the provider works on others.
MIN_SHARE = 1 / 4
#: The time in which they were read, at most, as a share of the seconds of their call. For shorter
#: calls it never waits long, and more of them would take it longer.
MAX_READING_SHARE = 1 / 4


def has_enough(attempts: int, outstanding: int, free_slots: int) -> bool:
    """Return whether a batch has so many attempts that its call may start early.

    ``outstanding``: the attempts at its deployment that are queued or in flight, its own included.
    ``free_slots``: those for the attempts that come next, which would wait for its end without.
    """
    return free_slots > 0 and attempts >= MIN_ATTEMPTS and attempts >= MIN_SHARE * outstanding


def is_read_fast(open_s: float, call_s: float | None) -> bool:
    """Return whether a batch that was opened ``open_s`` seconds ago may start early.

    ``call_s``: the seconds that its call is expected to take; None while that is not known.
    """
    return call_s is not None and open_s <= MAX_READING_SHARE * call_s
