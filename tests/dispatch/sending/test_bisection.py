"""For any set of bad attempts, bisection serves the good ones and refuses the bad ones alone."""

from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.sending.bisection import after_refusal, after_success


class Search:
    """The calls after a refused batch, as sender and queue make them."""

    def __init__(self, size, offenders, limit=None):
        self.offenders = set(offenders)
        self.limit = limit or size  # attempts the provider takes in one call
        self.served, self.refused, self.tests = [], [], 0
        self.queue = list(range(size))

    def run(self):
        """Run until no attempt is left; returned attempts are merged again."""
        while self.queue:
            batch, rest = self.queue, []
            self.queue = []
            while batch:
                batch, rest = self.call(batch, rest)
        return self

    def call(self, batch, rest):
        self.tests += 1
        is_refused = len(batch) > self.limit or bool(self.offenders & set(batch))
        if not is_refused:
            self.served += batch
            if not rest:
                return [], []
            step = after_success(rest)
        elif len(batch) > 1:
            step = after_refusal(batch, rest)
        else:
            self.refused += batch
            self.queue = rest + self.queue
            return [], []
        assert sorted([*step.test, *step.refused_with, *step.requeue]) == sorted(
            rest if not is_refused else [*batch, *rest]
        )
        self.queue = step.requeue + self.queue
        return step.test, step.refused_with


SIZES = st.integers(1, 80)


@given(SIZES, st.data())
def test_bisection_isolates_every_refused_request(size, data):
    offenders = data.draw(st.sets(st.integers(0, size - 1)))
    search = Search(size, offenders).run()
    assert sorted(search.refused) == sorted(offenders)
    assert sorted(search.served) == sorted(set(range(size)) - offenders)


@given(SIZES, st.data())
def test_number_of_calls_grows_with_refused_requests_and_log_of_size(size, data):
    offenders = data.draw(st.sets(st.integers(0, size - 1), max_size=6))
    search = Search(size, offenders).run()
    deepest = ceil(log2(size) / log2(3 / 2)) + 1 if size > 1 else 1
    assert search.tests <= 1 + len(offenders) * (deepest + 2)


@given(SIZES, st.integers(1, 80))
def test_batch_that_is_too_large_has_no_refused_request(size, limit):
    search = Search(size, (), limit).run()
    assert not search.refused
    assert sorted(search.served) == list(range(size))


@pytest.mark.parametrize(("size", "tests"), [(2, 3), (3, 4), (10, 7), (100, 13)])
def test_calls_to_isolate_one_request(size, tests):
    each = [Search(size, {offender}).run().tests for offender in range(size)]
    assert sum(each) / size <= tests


@given(st.lists(st.integers(), min_size=2, max_size=80, unique=True))
def test_bisection_call_has_fewer_items_than_suspects(suspects):
    for step in (after_refusal(suspects, []), after_success(suspects)):
        assert step.test + step.refused_with == suspects
        assert 0 < len(step.test) < len(suspects)


def test_last_suspect_is_sent_alone():
    step = after_success(["x"])
    assert (step.test, step.refused_with, step.requeue) == (["x"], [], [])


def test_suspects_outside_a_refused_call_are_merged_as_before():
    step = after_refusal(["a", "b", "c"], ["d", "e"])
    assert (step.test, step.refused_with, step.requeue) == (["a", "b"], ["c"], ["d", "e"])
