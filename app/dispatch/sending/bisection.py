"""On a 400, bisect the batch to isolate the offending request. Pure functions.

A provider refuses a merged call as a whole for one bad request in it. To find that request, some
of them are sent again without the rest: a test. This is adaptive group testing by binary splitting
(Hwang, "A Method for Detecting All Defective Members in a Population by Group Testing", 1972),
which needs the fewest calls where offenders are rare:

1. The tests of one search go one after the other, in the slot of the refused call. Of a batch that
   was refused, the first two thirds are tested next.
2. If they are refused, too, nothing is known of the last third: it goes back to the queue and is
   merged with others, as if it had never left.
3. If they are served, the offender is in the last third, which is split at once, untested.
4. An attempt is refused only after a call of its own: a batch may have been too large as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.dispatch.queue.attempts import Attempt

#: The share of the suspects in the next test. More than half, since a refused test is cheaper than
#: a served one: where a refusal takes a fifth of the time, a search costs 15 % less than by halves.
_TESTED_SHARE = 2 / 3


@dataclass(frozen=True, slots=True)
class Step:
    """The next test of a search, and where the other attempts go."""

    test: list[Attempt]  # sent next, in the same slot
    refused_with: list[Attempt]  # held back: if ``test`` is served, the offender is among these
    requeue: list[Attempt]  # back to the queue, to be merged as before


def after_refusal(tested: list[Attempt], refused_with: list[Attempt]) -> Step:
    """Return the step after ``tested`` were refused.

    ``refused_with`` were refused together with them before.
    """
    cut = _cut(tested)
    return Step(tested[:cut], tested[cut:], requeue=refused_with)


def after_success(refused_with: list[Attempt]) -> Step:
    """Return the step after a test was served: the offender is among ``refused_with``."""
    cut = _cut(refused_with)
    return Step(refused_with[:cut], refused_with[cut:], requeue=[])


def _cut(suspects: list[Attempt]) -> int:
    """Return how many suspects are tested: at least one, and not all of several."""
    return max(1, min(len(suspects) - 1, round(len(suspects) * _TESTED_SHARE)))
