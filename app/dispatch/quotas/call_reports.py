"""The calls of one worker for a leased quota: how many a second, and which to report."""

from __future__ import annotations

from collections import deque

from app.dispatch.quotas.lease import AHEAD_S, Amount
from app.dispatch.quotas.quota_window import WINDOW_S, QuotaReservation

#: Seconds after which a call is reported with its expected tokens, if they are not settled.
FINAL_S = 10.0
_MIN_RATE_S = 0.2  # rates are measured over at least so long: fewer calls say too little
_MAX_RATE_S = 10.0  # rates are measured over at most so long: the first report has none before it


class CallReports:
    """The calls of one worker that are not final yet, to be reported, or reported lately.

    A call is final when its tokens are settled, or `FINAL_S` after it was sent: from then on the
    store counts it with these tokens, and until then as a part of what the worker keeps.

    `app.dispatch.quotas.leased_quota.LeasedQuota` owns it, and holds its own lock during every
    call.
    """

    def __init__(self) -> None:
        self.final_ever = 0  # calls that ever became final
        self._open: deque[QuotaReservation] = deque()  # not final, oldest first
        self._final: deque[QuotaReservation] = deque()  # in the order of becoming final
        self._reported: deque[QuotaReservation] = deque()  # of the last minute
        self.rates = [0.0, 0.0]  # calls and tokens a second, lately
        self._sent = [0.0, 0.0]  # since the last report
        self._collected_at = float("-inf")

    def add(self, made: QuotaReservation) -> None:
        """Count a call that is sent."""
        self._open.append(made)
        made.is_unreported = True
        self._sent[0] += 1
        self._sent[1] += made.tokens

    def remove(self, reservation: QuotaReservation) -> None:
        """Remove a call that was not sent after all, and is not final."""
        self._open.remove(reservation)
        reservation.is_unreported = False

    def collect(self, now: float, all_of_them: bool) -> list[tuple[float, int]]:
        """Return the final calls to report: seconds since they were sent, their tokens."""
        self._update_rates(now)
        still_open = deque[QuotaReservation]()
        for call in self._open:
            if all_of_them or call.is_settled or now - call.at >= FINAL_S:
                self._final.append(call)
                call.is_unreported = False
                self.final_ever += 1
            else:
                still_open.append(call)
        self._open = still_open
        for calls in (self._reported, self._final):
            while calls and calls[0].at + WINDOW_S + FINAL_S < now:
                calls.popleft()
        return [(now - call.at, call.tokens) for call in self._final]

    def with_open_calls(self, kept: Amount) -> Amount:
        """Return the calls and tokens that are kept, together with those of calls not final yet."""
        return kept[0] + len(self._open), kept[1] + sum(call.tokens for call in self._open)

    def acknowledge(self, number: int) -> None:
        """Count so many calls as reported."""
        for _ in range(number):
            self._reported.append(self._final.popleft())

    def repeat(self) -> None:
        """Report the calls of the last minute again: the store has lost them."""
        self._final.extendleft(reversed(self._reported))
        self.final_ever += len(self._reported)
        self._reported.clear()

    def _update_rates(self, now: float) -> None:
        """Move the rates towards those since the last report, by its seconds out of `AHEAD_S`."""
        seconds = min(now - self._collected_at, _MAX_RATE_S)
        if seconds < _MIN_RATE_S:
            return
        weight = min(1.0, seconds / AHEAD_S)
        for i in (0, 1):
            self.rates[i] += weight * (self._sent[i] / seconds - self.rates[i])
        self._sent, self._collected_at = [0.0, 0.0], now
