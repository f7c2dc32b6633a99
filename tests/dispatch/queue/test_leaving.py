"""Which attempts of a queue need not be looked at, because one like them must wait."""

import pytest

from app.dispatch.queue.leaving import MustWait
from app.domain import Flow
from tests.dispatch.parts import T, attempt, deployment

A, B = deployment("a"), deployment("b")


@pytest.mark.parametrize(
    ("other", "must_wait"),
    [
        (attempt(A, tokens=100), True),
        (attempt(A, tokens=110, deadline=T + 200), True),
        (attempt(A, tokens=99), False),
        (attempt(A, tokens=100, deadline=T + 99), False),  # its call would not be spaced
        (attempt(A, tokens=300), False),  # it may have to wait so long that it is refused
        (attempt(A, tokens=100, flow=Flow(tier="flex")), False),
        (attempt(B, tokens=100), False),
        (attempt(A, tokens=100, is_probe=True), False),
    ],
)
def test_an_attempt_must_wait_where_one_that_needs_no_more_must(other, must_wait):
    known = MustWait()
    assert not known.has(other)
    known.add(attempt(A, tokens=100, deadline=T + 100))
    assert known.has(other) is must_wait


def test_the_least_that_must_wait_is_remembered():
    known = MustWait()
    for tokens in (110, 100, 120):
        known.add(attempt(A, tokens=tokens))
    assert known.has(attempt(A, tokens=100))
