"""How long a call should take for its size, learned from the calls before. No I/O, no lock."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

_MEMORY_CALLS = 50.0  # calls: each one counts a fiftieth less than the next; fewer in the beginning
_MAX_EXCESS = 4.0  # times the expectation, up to which the seconds of one call count
#: Of the ridge regression, relative to the diagonal: makes the coefficients alike where the calls
#: do not tell them apart. The bias is a third of it.
_RIDGE = 0.003
_MIN_SECONDS = 1e-6
#: Calls after which the coefficients are computed again, which costs more than to add a call.
_SOLVE_EVERY = 8
_EXPECTED_TOLERANCE = 0.1  # the share by which a call may take more or less than what was expected
_FIRST_LEARNED = 16  # calls of one size in a row of which each is learned from
_LEARNED_EVERY = 8  # of the further calls of that size, one of so many is learned from
_FIRST_BULK = 64  # the most items of a call of bulk work before any call has been timed
_BULK_GROWTH = 4  # a call of bulk work has at most so many times the items of the usual calls
_MIN_BULK = 8  # items; smaller calls are not cut before it is known that this helps
_MIN_OVERHEADS = 4  # a call is not cut below so many times what a call without items takes
_MIN_DEVIATION = 0.2  # of sizes, as a share of their mean: with less they are alike

#: The terms of a sum of three that may be used, by position: the fewest last.
_SUBSETS = tuple(subset for size in (3, 2, 1) for subset in combinations(range(3), size))


class CallDurations:
    """Fits ``seconds = a + b * items + c * tokens``, each coefficient at least 0.

    It is a least squares of relative errors, so that small calls count as much as large ones, and a
    call counts less with each later one (exponential weights). Where all calls have one size, the
    three terms cannot be told apart: each gets a third of the seconds.
    """

    def __init__(self) -> None:
        self._calls = 0
        self._products = [[0.0] * 3 for _ in range(3)]  # weighted sums, of the terms' products
        self._targets = [0.0] * 3  # weighted sums, of their products with the seconds
        self._sizes = [0.0] * 3  # weighted sums: of calls, of their items, of the squares of those
        self._coefficients: Sequence[float] | None = None
        self._last_items = 0  # of the last call
        self._calls_of_size = 0  # in a row, that had as many items as the call before

    def learn(self, items: int, tokens: int, seconds: float) -> None:
        """Learn from the seconds of a call, except in two cases.

        (1) The call took what was expected. (2) It is one of many of its size in a row, of which
        every eighth is enough. Each call that is learned from makes the earlier ones count less: so
        what is known of other sizes is kept while all calls have one size.
        """
        if items != self._last_items:
            self._last_items, self._calls_of_size = items, 0
        else:
            self._calls_of_size += 1
            if self._calls_of_size > _FIRST_LEARNED and self._calls_of_size % _LEARNED_EVERY:
                return
        expected = self.expected_s(items, tokens)
        if expected is None or abs(seconds - expected) > _EXPECTED_TOLERANCE * expected:
            self.add(items, tokens, seconds)

    def add(self, items: int, tokens: int, seconds: float) -> None:
        """Add an answered call to the sums of the least squares, and solve these now and then.

        The weight makes its error count relative to its expected seconds; seconds far above what
        was expected are cut, so that one outlier does not decide.
        """
        seconds = max(seconds, _MIN_SECONDS)
        expected = self.expected_s(items, tokens)
        weight = 1.0
        if expected is not None:
            seconds = min(seconds, _MAX_EXCESS * expected)
            weight = (self._mean() / expected) ** 2
        # The first call, which may load a model, is forgotten soon.
        kept = 1 - 1 / min(_MEMORY_CALLS, 1 + self._calls / 2)
        terms = (1.0, items, tokens)
        targets = self._targets
        for i, row in enumerate(self._products):
            weighted = weight * terms[i]
            row[0] = kept * row[0] + weighted
            row[1] = kept * row[1] + weighted * items
            row[2] = kept * row[2] + weighted * tokens
            targets[i] = kept * targets[i] + weighted * seconds
        for power in range(3):
            self._sizes[power] = kept * self._sizes[power] + items**power
        self._calls += 1
        if self._calls <= _SOLVE_EVERY or self._calls % _SOLVE_EVERY == 0:
            self._coefficients = _solve(self._products, targets)

    def most_items_within(
        self, longest_s: float, items: int, tokens: int, is_bulk: bool = False
    ) -> int | None:
        """Return how many such items a call of ``longest_s`` seconds may hold; None: all of them.

        Short calls free their slots often. There are three cases of a call that is expected to take
        longer:

        1. Calls of several sizes are known: the call is cut, but not below a few times the seconds
           that a call without items would take.
        2. Calls of one size are known: a call of at most that size is cut in proportion, unless it
           is small.
        3. It is larger than those: how long it takes is not known before one is sent, so that it is
           not cut. Bulk work, which must not hold a slot for long, is cut to a few times that size.
        """
        seconds = self.expected_s(items, tokens)
        if seconds is None:
            return self._most_if_unknown(items, is_bulk)
        if seconds <= longest_s:
            return None
        overhead_s = 0.0
        if self.sizes_differ:
            overhead_s = self.expected_s(0, 0) or 0.0
            longest_s = max(longest_s, _MIN_OVERHEADS * overhead_s)
        elif items > self.usual_items or items < _MIN_BULK:
            return self._most_if_unknown(items, is_bulk)
        if seconds <= longest_s:
            return None
        return max(1, int((longest_s - overhead_s) * items / (seconds - overhead_s)))

    def _most_if_unknown(self, items: int, is_bulk: bool) -> int | None:
        largest = max(_FIRST_BULK, int(_BULK_GROWTH * self.usual_items))
        return largest if is_bulk and items > largest else None

    def _mean(self) -> float:
        """Return the expected seconds of a call of the mean size."""
        calls, items, tokens = self._products[0]
        return self.expected_s(items / calls, tokens / calls) or _MIN_SECONDS

    @property
    def usual_items(self) -> float:
        """The items up to which calls are usual: their mean and a standard deviation."""
        calls, items, squares = self._sizes
        if not calls:
            return 0.0
        return items / calls + math.sqrt(max(0.0, squares / calls - (items / calls) ** 2))

    @property
    def sizes_differ(self) -> bool:
        """Whether the calls differ enough in size to show the time of a call without items."""
        calls, items, _ = self._sizes
        return self.usual_items * calls > (1 + _MIN_DEVIATION) * items

    def expected_s(self, items: float, tokens: float) -> float | None:
        """Return the seconds that a call of that size should take; None before the first call."""
        if self._coefficients is None:
            return None
        a, b, c = self._coefficients
        return max(a + b * items + c * tokens, _MIN_SECONDS)

    def fixed_share(self, items: int, tokens: int) -> float:
        """Return the share of `expected_s` that does not grow with the size; 0 while unknown."""
        expected = self.expected_s(items, tokens)
        if expected is None or self._coefficients is None:
            return 0.0
        return min(1.0, self._coefficients[0] / expected)


def _solve(products: Sequence[Sequence[float]], targets: Sequence[float]) -> list[float]:
    """Solve the non-negative least squares of these normal equations; return the coefficients.

    With all three terms, if none is negative then; else with the subset of terms that fits best.
    """
    best, best_gain = [0.0] * 3, 0.0
    for subset in _SUBSETS:
        used = [term for term in subset if products[term][term] > 0]
        found = _solve_unbounded(products, targets, used)
        if min(found, default=-1.0) < 0:
            continue
        gain = sum(x * targets[term] for x, term in zip(found, used, strict=True))
        if gain > best_gain:
            best, best_gain = [0.0] * 3, gain
            for x, term in zip(found, used, strict=True):
                best[term] = x
        if len(used) == 3:
            break
    return best


def _solve_unbounded(
    products: Sequence[Sequence[float]], targets: Sequence[float], used: Sequence[int]
) -> list[float]:
    """Solve the normal equations of some terms by Gaussian elimination.

    The matrix is positive definite by the ridge, so that no pivot is 0.
    """
    rows = []
    for i in used:
        row = [products[i][k] * (1 + _RIDGE if i == k else 1) for k in used]
        rows.append([*row, targets[i]])
    size = len(rows)
    for i in range(size):
        for k in range(i + 1, size):
            factor = rows[k][i] / rows[i][i]
            for j in range(i, size + 1):
                rows[k][j] -= factor * rows[i][j]
    found = [0.0] * size
    for i in reversed(range(size)):
        known = sum(rows[i][k] * found[k] for k in range(i + 1, size))
        found[i] = (rows[i][size] - known) / rows[i][i]
    return found
