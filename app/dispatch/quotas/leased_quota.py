"""A deployment's quota that all workers and hosts share: this worker's lease of it. No I/O.

A shared store counts calls and tokens of the last minute, and leases pieces of the rest to workers.
`start_exchange` says what to ask it, `end_exchange` takes the answer;
`app.limits.leases.server_leases` asks. The worker reports calls that are final, names what it keeps
of its lease, which returns the rest, and asks for what it expects to need.

There are two modes:

1. *leased*: calls leave as far as the lease goes. It expires some seconds after the question for it
   was sent, so that the lease of a late answer is shorter, and that of a lost answer is never used.
   The store counts what it has leased until the lease has expired for a minute.
2. *share*: the store is away, or cannot lease yet. The worker has its share of the quota, as
   without a store. After a lease it begins with what no other can have used: see `_begin_share`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from app.dispatch.quotas.call_reports import CallReports
from app.dispatch.quotas.lease import (
    AHEAD_S,
    JOIN_S,
    LEASE_S,
    POLL_S,
    Lease,
    LeaseRequest,
    amounts,
    lease_size,
    share_of,
)
from app.dispatch.quotas.quota import MAX_WAIT_S, Quota
from app.dispatch.quotas.quota_window import WINDOW_S, QuotaReservation


class LeasedQuota(Quota):
    """A `Quota` of all workers: ``requests`` and ``tokens`` are the limits of all together.

    ``on_need`` is called, under the lock, when an exchange should come soon.
    """

    def __init__(self, requests: float | None, tokens: float | None, workers: int) -> None:
        self.whole = requests, tokens
        self._workers, self._rank = workers, -1
        self._has_share = True  # False: the quota has fewer calls than workers, and this got none
        self.on_need: Callable[[], None] | None = None
        self._lease_until = self._joins_until = -inf  # when the lease expires; see `join`
        self.is_leased = False  # whether calls leave as far as a lease goes
        self._lease_calls = self._lease_tokens = 0.0
        self._exchange: LeaseRequest | None = None  # under way
        self._reports = CallReports()
        self._needed_tokens = -1  # of a call that waits for a lease; -1: none waits
        self._has_room_at = self._is_due_at = -inf  # by the store: see `Lease`
        self._spare = [0.0, 0.0]  # calls and tokens, at the beginning of a share
        self._strict_until = -inf  # until a minute after a lease: see `_pause_s`
        self._last_lease: Lease | None = None  # the store's last answer
        self._last_lease_at = -inf  # when that came
        super().__init__(*share_of(self.whole, workers))
        self.members = workers

    # Exchanges with the store

    def join(self, now: float) -> None:
        """Let calls wait up to `JOIN_S` for the store's first answer, before the share is used."""
        self._joins_until = now + JOIN_S

    def start_exchange(self, now: float, is_leaving: bool = False) -> LeaseRequest:
        """Return what to ask the store now. What it does not keep is not used any more."""
        with self._lock:
            reports = self._reports
            calls = reports.collect(now, is_leaving)
            if is_leaving or not self.is_leased:
                self._lease_calls = self._lease_tokens = 0.0
            held = self._lease_calls, self._lease_tokens
            size = (0, 0) if is_leaving else lease_size(reports.rates, self.whole[0], self.members)
            kept, needed, wanted = amounts(self.whole, held, size, self._needed_tokens)
            self._lease_calls, self._lease_tokens = kept
            held = reports.with_open_calls(kept)
            made = LeaseRequest(now, held, needed, wanted, calls, reports.final_ever, is_leaving)
            self._exchange = made
            return made

    def end_exchange(self, exchange: LeaseRequest, lease: Lease | None, now: float) -> bool:
        """Take the store's answer, None for none; return False for that of an earlier exchange."""
        with self._lock:
            if self._exchange is not exchange:
                return False
            self._exchange = None
            self._joins_until = -inf
            was_leased = self.is_leased
            self.is_leased = lease is not None and lease.is_leased
            if was_leased and not self.is_leased:
                self._begin_share(now)
            if lease is not None:
                self._acknowledge(exchange, lease)
                if lease.is_leased:
                    self._take(exchange, lease, now)
            return True

    def _acknowledge(self, exchange: LeaseRequest, lease: Lease) -> None:
        """Forget the calls that were reported; after a loss of the store report them again."""
        if lease.is_known:
            self._reports.acknowledge(len(exchange.calls))
        else:
            self._reports.repeat()
        if (lease.members, lease.rank) != (self.members, self._rank):
            self.members, self._rank = max(1, lease.members), lease.rank
            requests, tokens = share_of(self.whole, max(self.members, self._workers), lease.rank)
            self._has_share = requests != 0
            self._window.set_limits(1 if requests == 0 else requests, tokens)

    def _take(self, exchange: LeaseRequest, lease: Lease, now: float) -> None:
        """Add a lease to what was kept. The times are counted from when it was asked for."""
        self._last_lease, self._last_lease_at = lease, now
        self._lease_calls += lease.calls
        self._lease_tokens += lease.tokens
        self._lease_until = exchange.at + LEASE_S
        self._needed_tokens = -1  # what still waits is asked for again
        self._has_room_at = exchange.at + lease.window_wait
        self._is_due_at = exchange.at + lease.pace_wait

    def _begin_share(self, now: float) -> None:
        """Use the share of the quota from now on, but never more than all workers together may.

        Other workers may have leased calls meanwhile. By the store's last answer, shares begin when
        all of them fit beside such leases; until then a worker may use its part of what was free.
        """
        if (last := self._last_lease) is None:
            return
        starts_at = max(now, self._last_lease_at + last.share_wait)
        self._strict_until = now + WINDOW_S
        self._window.space_from(starts_at)
        members = max(self.members, self._workers)
        self._spare = [last.spare_calls / members, last.spare_tokens / members]

    # Under the lock

    def _has_lease(self, tokens: float, now: float, calls: int = 1) -> bool:
        requests, limit = self.whole
        return (
            now < self._lease_until
            and (requests is None or self._lease_calls >= calls)
            and (limit is None or self._lease_tokens >= tokens)
        )

    def _has_spare(self, tokens: float, now: float) -> bool:
        is_early = now < self._strict_until
        return is_early and self._spare[0] >= 1 and self._spare[1] >= tokens

    def _wait_s(self, tokens: int, now: float, calls: int = 1) -> float:
        if self._has_lease(tokens, now, calls):
            return 0.0
        if not self.is_leased:
            return super()._wait_s(tokens, now, calls) if self._has_share else WINDOW_S
        wait_s = self._has_room_at - now
        return wait_s if wait_s > MAX_WAIT_S else 0.0

    def _pause_s(self, tokens: int, now: float, deadline: float) -> float | None:
        """See `Quota.pause_s`. Where the lease has no room, there are these cases:

        1. Leased: until the store will have room; from then on an exchange is asked for.
        2. Share, while an exchange is under way, or the worker starts: until its answer.
        3. Share, and the call is among the spare ones: none.
        4. Share, a minute after the lease, or without one: as without a store.
        5. Share, earlier: for room, or until the call itself is due.
        """
        if self._has_lease(tokens, now):
            return 0.0
        if self.is_leased:  # case 1
            if self._has_room_at - now > MAX_WAIT_S:
                return None
            if (pause := max(self._has_room_at, self._is_due_at) - now) > 0:
                return pause
            self._need(tokens)
            return POLL_S
        if self._exchange is not None or now < self._joins_until:  # case 2
            return POLL_S  # the store counts this call only if it is sent after its answer
        if self._has_spare(tokens, now):  # case 3
            return 0.0
        if now >= self._strict_until:  # case 4
            return super()._pause_s(tokens, now, deadline)
        wait = self._wait_s(tokens, now)  # case 5
        if wait > 0:
            return wait if wait <= MAX_WAIT_S else None
        # No call leaves before it is due, or the first ones of all workers would come at once.
        return self._window.seconds_until_due(tokens, now)

    def _held_back_s(self, tokens: int, now: float) -> float:
        if self._has_lease(tokens, now):
            return 0.0
        if self.is_leased:  # until the store has room; the short wait for a lease does not count
            return max(self._has_room_at, self._is_due_at) - now
        if self._exchange is not None or now < self._joins_until or self._has_spare(tokens, now):
            return 0.0
        return super()._held_back_s(tokens, now)

    def _need(self, tokens: int) -> None:
        if tokens != self._needed_tokens:
            self._needed_tokens = tokens
            if self.on_need is not None:
                self.on_need()

    def _own_calls_left(self, now: float) -> float:
        if self.whole[0] is None:
            return inf
        if self.is_leased:
            return self._lease_calls if now < self._lease_until else 0.0
        return super()._own_calls_left(now)

    def _own_tokens_left(self, now: float) -> float:
        if self.whole[1] is None:
            return inf
        if now < self._lease_until and self._lease_tokens > 0:
            return self._lease_tokens
        return 0.0 if self.is_leased else super()._own_tokens_left(now)

    def _try_count(self, made: QuotaReservation) -> bool:
        """Count a call in the lease, else in what is spare, else in the share, if one has room."""
        if self._has_lease(made.tokens, made.at):
            self._lease_calls -= 1
            self._lease_tokens -= made.tokens
            self._window.count(made)
            is_short = self._lease_calls < self._reports.rates[0] * AHEAD_S / 2
            if is_short and self.on_need is not None:
                self.on_need()
        elif self.is_leased or self._exchange is not None:
            return False
        elif self._has_spare(made.tokens, made.at):
            self._spare[0] -= 1
            self._spare[1] -= made.tokens
            self._window.count(made)
        elif not super()._try_count(made):
            return False
        self._reports.add(made)
        return True

    def _change(self, reservation: QuotaReservation, tokens: int) -> None:
        super()._change(reservation, tokens)
        if tokens > 0 and reservation.is_unreported:
            self._lease_tokens -= tokens

    def _release(self, reservation: QuotaReservation) -> None:
        super()._release(reservation)
        if reservation.is_unreported:
            self._reports.remove(reservation)
            self._lease_calls += 1
            self._lease_tokens += reservation.tokens
